"""Blocking engines: each new connection has a token, and a rejected one is renewed once."""

import pytest
from kit.frames import recorded_variables
from kit.servers.raw import CLOSED_PORT
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from tokenkeeper import OAuth2Error, TokenWaitTimeoutError
from tokenkeeper.integrations.sqlalchemy import authenticate

DRIVERS = ("psycopg", "psycopg2")
CROWD = 12


@pytest.fixture(params=DRIVERS)
def make_engine(request, postgres):
    """Return a function that creates engines of one driver, which are disposed of at the end."""
    engines = []

    def make(**options):
        url = postgres.url(f"postgresql+{request.param}", options.pop("database", "app"))
        engines.append(create_engine(options.pop("url", url), **options))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def backend(engine):
    """Return the number of the server's process for a connection."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT pg_backend_pid()"))


def test_a_crowd_recovers_with_one_renewal(make_engine, source, server, requests_of, crowd):
    """Threads that connect after a revocation renew the token once."""
    engine = make_engine(poolclass=NullPool)
    authenticate(engine, source)
    backend(engine)
    server.revoke_all()
    backends = crowd(CROWD, lambda: backend(engine))
    assert all(isinstance(each, int) for each in backends), backends
    assert requests_of() == 2


def test_an_open_connection_outlives_its_token(make_engine, source, server, requests_of):
    """A pooled connection works on after the revocation; one that is made later has a new token."""
    engine = make_engine(pool_size=1)
    authenticate(engine, source)
    first = backend(engine)
    server.revoke_all()
    assert backend(engine) == first
    assert requests_of() == 1
    engine.dispose()
    assert backend(engine) != first
    assert requests_of() == 2


def test_pre_ping_replaces_a_lost_connection(make_engine, source, server, requests_of):
    """With pool_pre_ping, a connection that the server closed is made again, with a new token."""
    engine = make_engine(pool_size=1, pool_pre_ping=True)
    authenticate(engine, source)
    first = backend(engine)
    server.revoke_all()
    with create_other(engine, source) as other:
        other.scalar(text("SELECT pg_terminate_backend(:pid, 10000)"), {"pid": first})
    assert backend(engine) != first
    assert requests_of() == 2


def create_other(engine, source):
    """Return a connection of an engine of its own to the same database."""
    other = create_engine(engine.url, poolclass=NullPool)
    authenticate(other, source)
    return other.connect()


def test_sessions(make_engine, source):
    """The ORM connects through the engine, so it needs nothing more."""
    engine = make_engine(poolclass=NullPool)
    authenticate(engine, source)
    with Session(engine) as session:
        assert session.scalar(text("SELECT current_user")) == "app"


def test_a_wrong_database_renews_nothing(make_engine, source, requests_of):
    """A database that does not exist is the caller's error, and costs no token."""
    engine = make_engine(database="missing")
    authenticate(engine, source)
    with pytest.raises(OperationalError, match='"missing" does not exist'):
        engine.connect()
    assert requests_of() == 1


def test_a_database_that_is_down_renews_nothing(make_engine, source, postgres, requests_of):
    """A refused connection is the caller's error, and costs no token."""
    engine = make_engine()
    engine = make_engine(url=engine.url.set(port=CLOSED_PORT))
    authenticate(engine, source)
    with pytest.raises(OperationalError, match="refused"):
        engine.connect()
    assert requests_of() == 1


def test_a_database_that_rejects_every_token(make_engine, source, postgres, requests_of):
    """The caller gets the second rejection, and no third attempt is made."""
    seen = []
    postgres.radius.accepts = lambda token: seen.append(token)
    engine = make_engine()
    authenticate(engine, source)
    with pytest.raises(OperationalError, match="authentication failed"):
        engine.connect()
    assert requests_of() == 2
    assert len(seen) == 4  # each token by TLS and, as libpq prefers TLS, then without


def test_rejections_without_end_are_throttled(make_engine, source, postgres, requests_of, crowd):
    """Where each token is rejected, a few renewals follow, and callers get the rejection."""
    postgres.radius.accepts = lambda token: False
    engine = make_engine(poolclass=NullPool)
    authenticate(engine, source)
    for _ in range(3):
        errors = crowd(CROWD, engine.connect)
        assert {type(each) for each in errors} == {OperationalError}
    assert requests_of() <= 4


def test_an_outage_of_the_authorization_server(make_engine, keeper, server, postgres):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""
    engine = make_engine(poolclass=NullPool)
    source = keeper.source("api")
    authenticate(engine, source, timeout=0.5)
    backend(engine)
    server.go_down("stall")
    backend(engine)
    server.revoke_all()
    with pytest.raises(OAuth2Error) as raised:
        backend(engine)
    assert isinstance(raised.value, TokenWaitTimeoutError)
    server.come_back()
    source.get_token()
    backend(engine)


def test_no_frame_shows_a_token(make_engine, keeper, source, postgres):
    """No frame shows a rejected token: neither ours, nor SQLAlchemy's, nor the driver's."""
    seen = []
    postgres.radius.accepts = lambda token: seen.append(token)
    engine = make_engine()
    authenticate(engine, source)
    with pytest.raises(OperationalError) as raised:
        engine.connect()
    assert len(set(seen)) == 2
    for shown in recorded_variables(raised.value):
        assert not any(token in shown for token in seen), shown


def test_a_keeper_and_a_name(make_engine, keeper):
    """A keeper with a provider's name does what a source does."""
    engine = make_engine()
    authenticate(engine, keeper, "api")
    assert backend(engine)
