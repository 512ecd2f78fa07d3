"""Async connections and pools of psycopg: the event loop runs on, and one renewal is made."""

import asyncio

import psycopg
import pytest
from kit.frames import recorded_variables
from kit.guards import GUARD_SECONDS, until_async
from kit.providers import WatchedSource
from psycopg_pool import AsyncConnectionPool

from tokenkeeper import OAuth2Error
from tokenkeeper.integrations.psycopg import async_connection_class

CROWD = 12


def run(main):
    """Run the coroutine *main* in an event loop of its own."""
    asyncio.run(asyncio.wait_for(main, GUARD_SECONDS))


async def user(pool):
    """Return the user of a connection of *pool*."""
    async with pool.connection() as connection:
        return (await (await connection.execute("SELECT current_user")).fetchone())[0]


def test_a_crowd_recovers_with_one_renewal(postgres, source, server, requests_of, crowd_of_tasks):
    """Tasks that connect after a revocation renew the token once."""
    token_connection = async_connection_class(source)

    async def connect():
        async with await token_connection.connect(postgres.url()) as connection:
            return connection.info.user

    async def main():
        await connect()
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, connect) == ["app"] * CROWD
        assert requests_of() == 2

    run(main())


def test_a_pool_recovers_with_one_renewal(postgres, source, server, requests_of, crowd_of_tasks):
    """A pool whose connections are made after a revocation serves all tasks."""

    async def main():
        options = {"min_size": 0, "max_size": CROWD, "timeout": GUARD_SECONDS, "open": False}
        token_connection = async_connection_class(source)
        async with AsyncConnectionPool(
            postgres.url(), connection_class=token_connection, **options
        ) as pool:
            async with pool.connection() as connection:
                await connection.close()
            server.revoke_all()
            assert await crowd_of_tasks(CROWD, lambda: user(pool)) == ["app"] * CROWD
        assert requests_of() == 2

    run(main())


def test_the_event_loop_is_not_blocked(postgres, keeper):
    """While a connection waits for a token, the event loop runs."""
    provider = WatchedSource("held")
    keeper.add_provider(provider)
    postgres.radius.accepts = lambda token: token in provider.granted

    async def main():
        provider.hold()
        connecting = async_connection_class(keeper, "held").connect(postgres.url())
        task = asyncio.create_task(connecting)
        await until_async(provider.entered.is_set)
        assert not task.done()
        provider.gate.set()
        await (await task).close()

    run(main())


def test_a_wrong_database_renews_nothing(postgres, source, requests_of):
    """A database that does not exist is the caller's error, and costs no token."""

    async def main():
        with pytest.raises(psycopg.OperationalError, match='"missing" does not exist'):
            await async_connection_class(source).connect(postgres.url(database="missing"))
        assert requests_of() == 1

    run(main())


def test_an_outage_of_the_authorization_server(postgres, source, server):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""
    token_connection = async_connection_class(source, timeout=0.5)

    async def main():
        await (await token_connection.connect(postgres.url())).close()
        server.go_down("stall")
        await (await token_connection.connect(postgres.url())).close()
        server.revoke_all()
        with pytest.raises(OAuth2Error):
            await token_connection.connect(postgres.url())
        server.come_back()
        await source.aio.get_token()
        await (await token_connection.connect(postgres.url())).close()

    run(main())


def test_no_frame_shows_a_token(postgres, source):
    """No frame shows a token that was rejected: neither ours nor the driver's."""
    seen = []
    postgres.radius.accepts = lambda token: seen.append(token)

    async def main():
        with pytest.raises(psycopg.OperationalError, match="authentication failed") as raised:
            await async_connection_class(source).connect(postgres.url())
        assert len(set(seen)) == 2
        for shown in recorded_variables(raised.value):
            assert not any(token in shown for token in seen), shown

    run(main())
