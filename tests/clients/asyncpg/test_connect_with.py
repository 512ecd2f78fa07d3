"""Connections and pools of asyncpg: the event loop runs on, and one renewal is made."""

import asyncio

import asyncpg
import pytest
from kit.frames import recorded_variables
from kit.guards import until_async
from kit.loops import run
from kit.providers import WatchedSource
from kit.servers.postgres import SECURE_USER

from tokenkeeper import OAuth2Error
from tokenkeeper.integrations.asyncpg import connect_with

CROWD = 12


async def user(pool):
    """Return the user of a connection of *pool*."""
    return await pool.fetchval("SELECT current_user")


def test_a_crowd_recovers_with_one_renewal(postgres, source, server, requests_of, crowd_of_tasks):
    """Tasks that connect after a revocation renew the token once."""
    connect = connect_with(source)

    async def call():
        connection = await connect(postgres.url())
        await connection.close()
        return type(connection)

    async def main():
        await call()
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, call) == [asyncpg.Connection] * CROWD
        assert requests_of() == 2

    run(main())


def test_a_pool_recovers_with_one_renewal(postgres, source, server, requests_of, crowd_of_tasks):
    """A pool whose connections are made after a revocation serves all tasks."""

    async def main():
        options = {"min_size": 1, "max_size": CROWD, "connect": connect_with(source)}
        async with asyncpg.create_pool(postgres.url(), **options) as pool:
            await user(pool)
            server.revoke_all()
            await pool.expire_connections()
            assert await crowd_of_tasks(CROWD, lambda: user(pool)) == ["app"] * CROWD
        assert requests_of() == 2

    run(main())


@pytest.mark.parametrize("mode", ["prefer", "verify-full"])
def test_by_tls(postgres, source, server, requests_of, crowd_of_tasks, mode):
    """By TLS it is the same, also where asyncpg hides the rejection behind a try without TLS."""
    url = f"{postgres.url(user=SECURE_USER)}?sslmode={mode}&sslrootcert={postgres.ca_file}"

    async def user():
        connection = await connect_with(source)(url)
        try:
            return await connection.fetchval("SELECT current_user")
        finally:
            await connection.close()

    async def main():
        await user()
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, user) == [SECURE_USER] * CROWD
        assert requests_of() == 2

    run(main())


def test_an_open_connection_outlives_its_token(postgres, source, server, requests_of):
    """A pooled connection works on after the revocation; one that is made later has a new token."""

    async def main():
        options = {"min_size": 1, "max_size": 1, "connect": connect_with(source)}
        async with asyncpg.create_pool(postgres.url(), **options) as pool:
            first = await pool.fetchval("SELECT pg_backend_pid()")
            server.revoke_all()
            assert await pool.fetchval("SELECT pg_backend_pid()") == first
            assert requests_of() == 1
            await pool.expire_connections()
            assert await pool.fetchval("SELECT pg_backend_pid()") != first
        assert requests_of() == 2

    run(main())


def test_a_bare_callable_never_hears_of_the_rejection(postgres, source, server, requests_of):
    """With ``password=source.aio.get_token``, each connection fails until the token expires."""

    async def main():
        options = {"min_size": 1, "max_size": 1, "password": source.aio.get_token}
        async with asyncpg.create_pool(postgres.url(), **options) as pool:
            await user(pool)
            server.revoke_all()
            await pool.expire_connections()
            for _ in range(2):
                with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                    await user(pool)
        assert requests_of() == 1

    run(main())


def test_the_event_loop_is_not_blocked(postgres, keeper):
    """While a connection waits for a token, the event loop runs."""
    provider = WatchedSource("held")
    keeper.add_provider(provider)
    postgres.radius.accepts = lambda token: token in provider.granted

    async def main():
        provider.hold()
        task = asyncio.create_task(connect_with(keeper, "held")(postgres.url()))
        await until_async(provider.entered.is_set)
        assert not task.done()
        provider.gate.set()
        await (await task).close()

    run(main())


def test_a_wrong_database_renews_nothing(postgres, source, requests_of):
    """A database that does not exist is the caller's error, and costs no token."""

    async def main():
        with pytest.raises(asyncpg.InvalidCatalogNameError):
            await connect_with(source)(postgres.url(database="missing"))
        assert requests_of() == 1

    run(main())


def test_an_outage_of_the_authorization_server(postgres, source, server):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""
    connect = connect_with(source, timeout=0.5)

    async def main():
        await (await connect(postgres.url())).close()
        server.go_down("stall")
        await (await connect(postgres.url())).close()
        server.revoke_all()
        with pytest.raises(OAuth2Error):
            await connect(postgres.url())
        server.come_back()
        await source.aio.get_token()
        await (await connect(postgres.url())).close()

    run(main())


def test_rejections_for_another_reason_are_bounded(postgres, source, requests_of):
    """PostgreSQL has the same SQLSTATE for a missing rule: that costs a few renewals at most."""

    async def main():
        for _ in range(8):
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="pg_hba"):
                await connect_with(source)(postgres.url(), user="other")
        assert requests_of() <= 4

    run(main())


def test_no_frame_shows_a_token(postgres, source):
    """No frame shows a token that was rejected: neither ours nor the driver's."""
    seen = []
    postgres.radius.accepts = lambda token: seen.append(token)

    async def main():
        with pytest.raises(asyncpg.PostgresError, match="authentication failed") as raised:
            await connect_with(source)(postgres.url())
        assert len(set(seen)) == 2
        for shown in recorded_variables(raised.value):
            assert not any(token in shown for token in seen), shown

    run(main())
