"""Blocking connections and pools of psycopg: a rejected token is renewed once."""

from importlib import metadata

import psycopg
import pytest
from kit.frames import recorded_variables
from kit.guards import GUARD_SECONDS
from kit.servers.postgres import SECURE_USER
from packaging.version import Version
from psycopg_pool import ConnectionPool, PoolTimeout

from tokenkeeper import OAuth2Error
from tokenkeeper.integrations.psycopg import connection_class

CROWD = 12


@pytest.fixture
def make_pool(postgres, source):
    """Return a function that returns an open pool, which is closed at the end."""
    pools = []

    def make(**options):
        options = {"timeout": GUARD_SECONDS, "connection_class": connection_class(source)} | options
        pools.append(ConnectionPool(postgres.url(), open=False, **options))
        pools[-1].open()
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()


def user(pool):
    """Return the user of a connection of *pool*."""
    with pool.connection() as connection:
        return connection.execute("SELECT current_user").fetchone()[0]


def backend(pool):
    """Return the number of the server's process for a connection of *pool*."""
    with pool.connection() as connection:
        return connection.info.backend_pid


def test_a_crowd_recovers_with_one_renewal(postgres, source, server, requests_of, crowd):
    """Threads that connect after a revocation renew the token once."""
    token_connection = connection_class(source)

    def connect():
        with token_connection.connect(postgres.url()) as connection:
            return connection.info.user

    connect()
    server.revoke_all()
    assert crowd(CROWD, connect) == ["app"] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("mode", ["prefer", "verify-full"])
def test_by_tls(postgres, source, server, requests_of, crowd, mode):
    """By TLS it is the same, also where libpq tries again without TLS after a rejection."""
    url = f"{postgres.url(user=SECURE_USER)}?sslmode={mode}&sslrootcert={postgres.ca_file}"

    def connect():
        with connection_class(source).connect(url) as connection:
            return connection.pgconn.ssl_in_use

    assert connect()
    server.revoke_all()
    assert crowd(CROWD, connect) == [True] * CROWD
    assert requests_of() == 2


def test_a_pool_recovers_with_one_renewal(make_pool, server, requests_of, crowd):
    """A pool whose connections are made after a revocation serves all threads."""
    pool = make_pool(min_size=0, max_size=CROWD)
    with pool.connection() as connection:
        connection.close()
    server.revoke_all()
    assert crowd(CROWD, lambda: user(pool)) == ["app"] * CROWD
    assert requests_of() == 2


def test_an_open_connection_outlives_its_token(make_pool, server, requests_of):
    """A pooled connection works on after the revocation; one that is made later has a new token."""
    pool = make_pool(min_size=1, max_size=1, check=ConnectionPool.check_connection)
    first = backend(pool)
    server.revoke_all()
    assert backend(pool) == first
    assert requests_of() == 1
    with pool.connection() as connection:
        connection.close()
    assert backend(pool) != first
    assert requests_of() == 2


@pytest.mark.skipif(
    Version(metadata.version("psycopg-pool")) < Version("3.3"),
    reason="kwargs= takes no callable",
)
def test_a_bare_callable_never_hears_of_the_rejection(make_pool, source, server, requests_of):
    """A pool whose password comes from a callable stays without connections, and renews nothing."""
    pool = make_pool(
        connection_class=psycopg.Connection,
        kwargs=lambda: {"password": source()},
        min_size=0,
        max_size=1,
        timeout=1.0,
    )
    assert user(pool) == "app"
    with pool.connection() as connection:
        connection.close()
    server.revoke_all()
    with pytest.raises(PoolTimeout):
        user(pool)
    assert requests_of() == 1


def test_a_wrong_database_renews_nothing(postgres, source, requests_of):
    """A database that does not exist is the caller's error, and costs no token."""
    with pytest.raises(psycopg.OperationalError, match='"missing" does not exist'):
        connection_class(source).connect(postgres.url(database="missing"))
    assert requests_of() == 1


def test_an_outage_of_the_authorization_server(postgres, source, server, make_pool):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""
    token_connection = connection_class(source, timeout=0.5)
    token_connection.connect(postgres.url()).close()
    server.go_down("stall")
    token_connection.connect(postgres.url()).close()
    server.revoke_all()
    with pytest.raises(OAuth2Error):
        token_connection.connect(postgres.url())
    pool = make_pool(min_size=1, max_size=1, connection_class=token_connection)
    server.come_back()
    assert user(pool) == "app"


def test_a_class_of_your_own(postgres, source):
    """The class derives from the one that it is given."""

    class Ours(psycopg.Connection):
        """An application's own class."""

    token_connection = connection_class(source, base=Ours)
    with token_connection.connect(postgres.url(), password="unused") as connection:
        assert isinstance(connection, Ours)
    assert token_connection.__name__ == "Ours"


def test_no_frame_shows_a_token(postgres, source):
    """No frame shows a token that was rejected: neither ours nor the driver's."""
    seen = []
    postgres.radius.accepts = lambda token: seen.append(token)
    with pytest.raises(psycopg.OperationalError, match="authentication failed") as raised:
        connection_class(source).connect(postgres.url())
    assert len(set(seen)) == 2
    for shown in recorded_variables(raised.value):
        assert not any(token in shown for token in seen), shown
