"""trino against a coordinator that asks the authorization server about each token."""

import pytest
import requests
from kit.cookbook import example
from kit.servers.base import Answer
from kit.servers.bearer_api import BearerApi
from trino.auth import JWTAuthentication
from trino.dbapi import connect
from trino.exceptions import HttpError

CROWD = 12
STATS = {"state": "FINISHED", "queued": False, "scheduled": True}
COLUMN = {"name": "n", "type": "integer", "typeSignature": {"rawType": "integer", "arguments": []}}


@pytest.fixture
def coordinator(server, monkeypatch):
    """Return a coordinator that answers each statement with one row, at its second address."""

    def reply(request):
        said = {"id": "q1", "infoUri": api.origin, "stats": STATS}
        if request.method == "POST":
            api.after_statement()
            return Answer(200, said | {"nextUri": f"{api.origin}/v1/statement/q1/1"})
        return Answer(200, said | {"columns": [COLUMN], "data": [[1]]})

    with BearerApi(server.is_alive, reply) as api:
        api.after_statement = lambda: None
        monkeypatch.setenv("TRINO_URL", api.origin)
        yield api


@pytest.fixture
def connection(source):
    """Return a function that opens a connection, as the example does."""
    return lambda: example("trino").connection(source)


def one(connection):
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    return cursor.fetchall()


def test_a_crowd_recovers_with_one_renewal(server, coordinator, connection, crowd, requests_of):
    """Connections in many threads recover from a revocation with one renewal."""
    connections = [connection() for _ in range(CROWD)]
    waiting = iter(connections * 2)
    assert crowd(CROWD, lambda: one(next(waiting))) == [[[1]]] * CROWD
    server.revoke_all()
    assert crowd(CROWD, lambda: one(next(waiting))) == [[[1]]] * CROWD
    assert requests_of() == 2


def test_a_query_goes_on_after_a_revocation(server, coordinator, connection, requests_of):
    """A token that is revoked between a statement and its rows is renewed for the rows."""
    coordinator.after_statement = server.revoke_all
    assert one(connection()) == [[1]]
    assert requests_of() == 2


def test_a_fixed_token_is_used_until_its_end(server, coordinator, source, requests_of):
    """``JWTAuthentication`` takes a text, which the connection never replaces."""
    session = JWTAuthentication(source()).set_http_session(requests.Session())
    trino = connect(host=coordinator.origin, user="billing", http_session=session)
    server.revoke_all()
    source.get_token(force_refresh=True)
    with pytest.raises(HttpError, match="401"):
        one(trino)
    assert requests_of() == 2


def test_the_example(coordinator, run_example):
    """The program of the page prints the row."""
    assert run_example("trino", TRINO_URL=coordinator.origin) == "1\n"
