"""Async engines: what blocking ones do, without blocking the event loop."""

import asyncio

import pytest
from kit import loops
from kit.frames import recorded_variables
from kit.guards import until_async
from kit.providers import WatchedSource
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from tokenkeeper import OAuth2Error
from tokenkeeper.integrations.sqlalchemy import authenticate

CROWD = 12


@pytest.fixture(params=["asyncpg", "psycopg"])
def run(request, postgres):
    """Return a function that runs a coroutine function of an engine, which is then disposed of."""

    def run(main, database="app", **options):
        async def with_engine():
            url = postgres.url(f"postgresql+{request.param}", database)
            engine = create_async_engine(url, **options)
            try:
                await main(engine)
            finally:
                await engine.dispose()

        loops.run(with_engine())

    return run


async def backend(engine):
    """Return the number of the server's process for a connection."""
    async with engine.connect() as connection:
        return await connection.scalar(text("SELECT pg_backend_pid()"))


def test_a_crowd_recovers_with_one_renewal(run, source, server, requests_of, crowd_of_tasks):
    """Tasks that connect after a revocation renew the token once."""

    async def main(engine):
        authenticate(engine, source)
        await backend(engine)
        server.revoke_all()
        backends = await crowd_of_tasks(CROWD, lambda: backend(engine))
        assert all(isinstance(each, int) for each in backends), backends
        assert requests_of() == 2

    run(main, poolclass=NullPool)


def test_the_event_loop_is_not_blocked(run, keeper, postgres):
    """While a connection waits for its first token, or for another one, the event loop runs."""
    postgres.radius.accepts = lambda token: token == list(provider.granted)[-1]
    provider = WatchedSource("held")
    keeper.add_provider(provider)

    async def meanwhile(call):
        """Run *call*; the provider returns its token only after the loop ran on."""
        provider.hold()
        task = asyncio.create_task(call)
        await until_async(provider.entered.is_set)
        assert not task.done()
        provider.gate.set()
        assert await task

    async def main(engine):
        authenticate(engine, keeper.source("held"))
        await meanwhile(backend(engine))
        postgres.radius.accepts = lambda token: token != first
        first = next(iter(provider.granted))
        await meanwhile(backend(engine))
        assert provider.requests == 2

    run(main, poolclass=NullPool)


def test_an_open_connection_outlives_its_token(run, source, server, requests_of):
    """A pooled connection works on after the revocation; one that is made later has a new token."""

    async def main(engine):
        authenticate(engine, source)
        first = await backend(engine)
        server.revoke_all()
        assert await backend(engine) == first
        assert requests_of() == 1
        await engine.dispose()
        assert await backend(engine) != first
        assert requests_of() == 2

    run(main, pool_size=1)


def test_a_wrong_database_renews_nothing(run, source, requests_of):
    """A database that does not exist is the caller's error, and costs no token."""

    async def main(engine):
        authenticate(engine, source)
        with pytest.raises(Exception, match='"missing" does not exist'):
            await backend(engine)
        assert requests_of() == 1

    run(main, database="missing")


def test_an_outage_of_the_authorization_server(run, source, server):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""

    async def main(engine):
        await source.aio.get_token()  # the timeout is for the outage
        authenticate(engine, source, timeout=0.5)
        await backend(engine)
        server.go_down("stall")
        await backend(engine)
        server.revoke_all()
        with pytest.raises(OAuth2Error):
            await backend(engine)
        server.come_back()
        await source.aio.get_token()
        assert await backend(engine)

    run(main, poolclass=NullPool)


def test_no_frame_shows_a_token(run, source, postgres):
    """No frame shows a rejected token: neither ours, nor SQLAlchemy's, nor the driver's."""
    seen = []
    postgres.radius.accepts = lambda token: seen.append(token)

    async def main(engine):
        authenticate(engine, source)
        with pytest.raises((DBAPIError, Exception), match="authentication failed") as raised:
            await backend(engine)
        assert len(set(seen)) == 2
        for shown in recorded_variables(raised.value):
            assert not any(token in shown for token in seen), shown

    run(main)


def test_a_cancelled_connect_leaves_the_engine_usable(run, keeper, postgres):
    """A task that is cancelled while it waits for a token affects no later connection."""
    provider = WatchedSource("held")
    keeper.add_provider(provider)
    postgres.radius.accepts = lambda token: token in provider.granted

    async def main(engine):
        authenticate(engine, keeper.source("held"))
        provider.hold()
        task = asyncio.create_task(backend(engine))
        await until_async(provider.entered.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        provider.gate.set()
        assert await backend(engine)
        assert provider.requests == 1

    run(main)
