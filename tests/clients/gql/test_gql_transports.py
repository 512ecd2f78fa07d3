"""``gql``: what its transports over httpx do when a server refuses a token."""

import gql.transport.httpx
import pytest
from gql import Client
from gql.transport.exceptions import TransportConnectionFailed, TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport, HTTPXTransport
from gql.transport.requests import RequestsHTTPTransport
from kit.httpx_packages import auth_for

from tokenkeeper import TokenAcquisitionError

KeeperAuth = auth_for(gql.transport.httpx.httpx)  # the package that gql found
CROWD = 8
ANSWER = {"greeting": "hello"}
QUERY = gql.gql("{ greeting }")


def by_httpx(api, source):
    return HTTPXTransport(api.origin, auth=KeeperAuth(source))


def by_requests(api, source):
    return RequestsHTTPTransport(api.origin, auth=source.auth())


@pytest.mark.parametrize("transport", [by_httpx, by_requests])
def test_a_crowd_of_threads(api, source, requests_of, crowd, transport):
    """Threads whose token is revoked while they use it all go on, with one renewal."""
    api.revoke_at = 20

    def job():
        with Client(transport=transport(api, source)) as session:
            return [session.execute(QUERY) for _ in range(4)]

    assert crowd(CROWD, job) == [[ANSWER] * 4] * CROWD
    assert requests_of() == 2


@pytest.mark.anyio
async def test_a_crowd_of_tasks(api, server, source, requests_of, crowd_of_tasks):
    """Tasks of one session whose token is revoked all go on, with one renewal."""
    transport = HTTPXAsyncTransport(api.origin, auth=KeeperAuth(source))
    async with Client(transport=transport) as session:
        assert await session.execute(QUERY) == ANSWER
        server.revoke_all()
        answers = await crowd_of_tasks(CROWD, lambda: session.execute(QUERY))
    assert answers == [ANSWER] * CROWD
    assert requests_of() == 2


def test_a_header(api, server, source, requests_of):
    """With the token in a header, all queries fail once it is revoked."""
    transport = HTTPXTransport(api.origin, headers=source.headers("POST", api.origin))
    with Client(transport=transport) as session:
        assert session.execute(QUERY) == ANSWER
        server.revoke_all()
        for _ in range(2):
            with pytest.raises(TransportQueryError):
                session.execute(QUERY)
    assert requests_of() == 1


def test_no_token(api, server, source):
    """Without a token, gql raises its own error, whose cause is the keeper's."""
    server.refuse(times=2)
    with (
        Client(transport=by_httpx(api, source)) as session,
        pytest.raises(TransportConnectionFailed) as raised,
    ):
        session.execute(QUERY)
    assert isinstance(raised.value.__cause__, TokenAcquisitionError)
    assert api.received == []


def test_the_example(api, run_example):
    """The page's program prints the data."""
    assert run_example("gql", GRAPHQL_URL=api.origin) == f"{ANSWER}\n"
