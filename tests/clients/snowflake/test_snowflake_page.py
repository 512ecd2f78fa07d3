"""The cookbook's page on Snowflake, with a stub of its login."""

import gzip
import json
from contextlib import closing

import pytest
import snowflake.connector
from kit.cookbook import example
from kit.guards import until
from kit.servers.base import Answer, LoopbackServer
from snowflake.connector.errors import DatabaseError

SESSION = {
    "token": "session",
    "masterToken": "master",
    "validityInSeconds": 3600,
    "masterValidityInSeconds": 14400,
    "sessionId": 7,
    "serverVersion": "9.0.0",
    "parameters": [],
    "sessionInfo": {"roleName": "PUBLIC"},
}
COLUMN = {"name": "42", "type": "fixed", "nullable": False, "precision": 2, "scale": 0}
RESULT = {
    "rowtype": [COLUMN | {"length": None, "byteLength": None}],
    "rowset": [["42"]],
    "total": 1,
    "returned": 1,
    "queryId": "7",
    "queryResultFormat": "json",
    "statementTypeId": 4096,
    "parameters": [],
}


class Snowflake(LoopbackServer):
    """A stub that starts sessions for tokens that are alive, and answers each query with 42.

    :ivar logins: the tokens of the logins, in order.
    """

    def __init__(self, is_alive):
        self.is_alive = is_alive
        self.logins = []
        super().__init__()

    def answer(self, request):
        if request.path == "/session/v1/login-request":
            token = _document(request)["data"]["TOKEN"]
            self.logins.append(token)
            if not self.is_alive(token):
                return _said(None, success=False, code="390303", message="Invalid OAuth token.")
            return _said(SESSION)
        return _said(RESULT if request.path.endswith("/query-request") else None)


def _document(request):
    is_packed = request.headers.get("content-encoding") == "gzip"
    return json.loads(gzip.decompress(request.body) if is_packed else request.body)


def _said(data, *, success=True, code=None, message=None):
    return Answer(body={"data": data, "success": success, "code": code, "message": message})


@pytest.fixture
def stub(server):
    """Return the stub."""
    with Snowflake(server.is_alive) as stub:
        yield stub


@pytest.fixture
def options(stub):
    """Return the options of a connection to the stub."""
    return {
        "account": "contoso",
        "user": "reader",
        "host": "127.0.0.1",
        "port": stub.server_port,
        "protocol": "http",
        "enable_server_session_keep_alive_auto_detection": True,
    }


def answer_of(connection):
    """Return what the stub answers to a query."""
    return connection.cursor().execute("SELECT 42").fetchone()[0]


def test_a_crowd_recovers_with_one_renewal(server, source, options, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each connects."""
    connect = example("snowflake").connect

    def query():
        with closing(connect(source, **options)) as connection:
            return answer_of(connection)

    assert crowd(8, query) == [42] * 8
    server.revoke_all()
    assert crowd(8, query) == [42] * 8
    assert requests_of() == 2


def test_an_open_session_stays_open(server, source, stub, options):
    """The token is for the login; then a session has tokens of its own."""
    with closing(example("snowflake").connect(source, **options)) as connection:
        server.revoke_all()
        assert answer_of(connection) == 42
    assert len(stub.logins) == 1


def test_a_file_is_read_at_each_connection(server, source, stub, options, tmp_path, requests_of):
    """A file has the renewed token, but no connection reports that one was rejected."""
    path = tmp_path / "token"
    source.write_to(path)

    def connect():
        named = {"authenticator": "oauth", "token_file_path": str(path)}
        snowflake.connector.connect(**named, **options).close()

    connect()
    refused = source()
    server.revoke_all()
    with pytest.raises(DatabaseError, match="Invalid OAuth"):
        connect()
    renewed = source.renew_refused(refused)
    until(lambda: path.read_text() == renewed)
    connect()
    assert stub.logins[-1] == renewed
    assert requests_of() == 2


def test_the_example_runs(run_example, stub):
    """The example runs a query."""
    variables = {
        "SNOWFLAKE_HOST": "127.0.0.1",
        "SNOWFLAKE_PORT": stub.server_port,
        "SNOWFLAKE_PROTOCOL": "http",
    }
    assert run_example("snowflake", **variables) == "42\n"
