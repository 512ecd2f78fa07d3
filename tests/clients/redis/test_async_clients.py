"""Async clients: what blocking ones do, without blocking the event loop."""

import asyncio

import pytest
import redis
import redis.asyncio
from kit.frames import recorded_variables
from kit.guards import GUARD_SECONDS, until_async
from kit.providers import WatchedSource
from kit.servers.valkey import USER
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tokenkeeper import OAuth2Error
from tokenkeeper.integrations.redis import KeeperCredentialProvider

CROWD = 12


@pytest.fixture
def run(valkey, source):
    """Return a function that runs a coroutine function of a client, which is then closed."""

    def run(main, credentials=None, **options):
        credentials = credentials or KeeperCredentialProvider(source, username=USER)
        options.setdefault("redis_connect_func", credentials.on_connect_async)

        async def with_client():
            async with redis.asyncio.Redis(
                port=valkey.port, credential_provider=credentials, **options
            ) as client:
                await asyncio.wait_for(main(client), GUARD_SECONDS)

        asyncio.run(with_client())

    return run


@pytest.mark.parametrize("protocol", [2, 3])
def test_a_crowd_recovers_with_one_renewal(run, protocol, server, requests_of, crowd_of_tasks):
    """Tasks that connect after a revocation renew the token once, and see no error."""

    async def main(client):
        assert await client.acl_whoami() == USER
        server.revoke_all()
        await client.connection_pool.disconnect()
        assert await crowd_of_tasks(CROWD, client.acl_whoami) == [USER] * CROWD
        assert requests_of() == 2

    run(main, protocol=protocol, decode_responses=True)


def test_the_event_loop_is_not_blocked(run, keeper, valkey):
    """While a connection waits for a token, the event loop runs."""
    provider = WatchedSource("held")
    keeper.add_provider(provider)
    provider.hold()

    async def main(client):
        task = asyncio.create_task(client.ping())
        await until_async(provider.entered.is_set)
        assert not task.done()
        provider.gate.set()
        with pytest.raises(redis.AuthenticationError):
            await task

    run(main, KeeperCredentialProvider(keeper, "held", username=USER), retry=None)


def test_a_credential_provider_alone_never_hears_of_the_rejection(run, server, requests_of):
    """Without ``redis_connect_func``, a client fails until the token expires."""

    async def main(client):
        await client.ping()
        await client.connection_pool.disconnect()
        server.revoke_all()
        with pytest.raises(redis.AuthenticationError):
            await client.ping()
        assert requests_of() == 1

    run(main, redis_connect_func=None, retry=Retry(NoBackoff(), 3))


def test_a_server_that_rejects_every_token(run, server, requests_of):
    """The caller gets the second rejection."""
    server.accepted = False

    async def main(client):
        with pytest.raises(redis.AuthenticationError):
            await client.ping()
        assert requests_of() == 2

    run(main, retry=Retry(NoBackoff(), 0))


def test_an_outage_of_the_authorization_server(run, source, server):
    """A valid token still connects; a rejected one raises our error, until the outage is over."""

    async def main(client):
        await client.ping()
        server.go_down("stall")
        await client.connection_pool.disconnect()
        await client.ping()
        server.revoke_all()
        await client.connection_pool.disconnect()
        with pytest.raises(OAuth2Error):
            await client.ping()
        server.come_back()
        await source.aio.get_token()
        await client.ping()

    run(main, KeeperCredentialProvider(source, username=USER, timeout=0.5))


def test_no_frame_shows_a_token(run, server, keeper):
    """No frame shows a token that was rejected: neither ours nor redis-py's."""
    server.accepted = False

    async def main(client):
        with pytest.raises(redis.AuthenticationError) as raised:
            await client.ping()
        token = keeper.get_token("api")
        for shown in recorded_variables(raised.value):
            assert token not in shown, shown

    run(main, retry=Retry(NoBackoff(), 0))
