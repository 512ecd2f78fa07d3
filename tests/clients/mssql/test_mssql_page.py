"""The cookbook's page on mssql-python, with a stub of SQL Server and Microsoft's real driver."""

import ctypes.util
from contextlib import closing

import mssql_python
import pytest
from kit.cookbook import example
from kit.programs import unavailable
from kit.servers.guarded import certificate_in
from kit.servers.tds import SqlServer

from tokenkeeper.integrations.azure import KeeperCredential


@pytest.fixture
def database(server, tmp_path, monkeypatch):
    """Return the stub; the example connects to it."""
    if ctypes.util.find_library("ltdl") is None:
        unavailable("libltdl.so.7, which the driver needs, is missing: install libltdl7")
    certificate = certificate_in(tmp_path)
    with SqlServer(server.is_alive, certificate.context) as database:
        database.text = (
            f"Server=127.0.0.1,{database.port};Database=shop;"
            f"Encrypt=strict;ServerCertificate={certificate.chain}"
        )
        monkeypatch.setenv("MSSQL", database.text)
        mssql_python.pooling(enabled=False)
        yield database
        mssql_python.pooling(enabled=False)


def answer_of(connection):
    """Return what the server answers to a query."""
    with closing(connection):
        return connection.execute("SELECT 42").fetchone()[0]


def test_a_crowd_recovers_with_one_renewal(server, source, database, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each connects."""
    connect = example("mssql_python").connect

    def query():
        return answer_of(connect(source))

    assert crowd(8, query) == [42] * 8
    server.revoke_all()
    assert crowd(8, query) == [42] * 8
    assert requests_of() == 2


def test_a_token_provider_does_not_recover(server, source, database, requests_of):
    """A token provider is asked once for each connection, and never hears that it failed."""
    credential = KeeperCredential(source)
    assert answer_of(mssql_python.connect(database.text, token_provider=credential)) == 42
    server.revoke_all()
    with pytest.raises(mssql_python.Error, match="Login failed"):
        mssql_python.connect(database.text, token_provider=credential)
    assert requests_of() == 1


def test_an_open_connection_stays_open(server, source, database):
    """The server checks the token at the login only."""
    with closing(example("mssql_python").connect(source)) as connection:
        server.revoke_all()
        assert connection.execute("SELECT 42").fetchone()[0] == 42
    assert len(database.logins) == 1


def test_a_pool_keeps_what_a_token_opened(server, source, database, requests_of):
    """The library's pool hands out open connections, whatever became of their token."""
    mssql_python.pooling(enabled=True)
    connect = example("mssql_python").connect
    assert answer_of(connect(source)) == 42
    server.revoke_all()
    assert answer_of(connect(source)) == 42
    assert len(database.logins) == 1
    assert requests_of() == 1


def test_the_example_runs(run_example, database):
    """The example runs a query."""
    assert run_example("mssql_python", MSSQL=database.text) == "42\n"
