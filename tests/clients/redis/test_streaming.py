"""Open connections authenticate again with each new token."""

import asyncio
import gc
import logging
import threading
from importlib import metadata

import pytest
import redis
import redis.asyncio
from kit.crowds import at_once
from kit.guards import GUARD_SECONDS, until, until_async
from kit.servers.valkey import USER
from packaging.version import Version

from tokenkeeper import TokenKeeper, get_default_source
from tokenkeeper.integrations.redis import StreamingKeeperCredentialProvider


@pytest.fixture
def credentials(source):
    """Return a credential provider of the source, which has a token: each new one is delivered."""
    source.get_token()
    return StreamingKeeperCredentialProvider(source, username=USER)


@pytest.fixture
def client_options(valkey, credentials):
    """Return the options of a client. With protocol 3, a new connection authenticates by HELLO."""
    return {"port": valkey.port, "credential_provider": credentials, "protocol": 3}


def open_connections(client, count):
    """Have the pool of *client* keep *count* idle connections."""
    pool = client.connection_pool
    for connection in [pool.get_connection() for _ in range(count)]:
        pool.release(connection)


def test_idle_connections_authenticate_again(client_options, source, valkey):
    """Each idle connection of a pool gets the new token; none is made again."""
    with redis.Redis(**client_options) as client:
        open_connections(client, 3)
        number = client.client_id()
        source.get_token(force_refresh=True)
        until(lambda: valkey.reauthentications == 3)
        assert client.client_id() == number


def test_a_connection_in_use_authenticates_when_it_is_released(client_options, source, valkey):
    """A connection that is in use during the renewal gets the new token afterwards."""
    with redis.Redis(**client_options) as client:
        connection = client.connection_pool.get_connection()
        source.get_token(force_refresh=True)
        until(lambda: connection._re_auth_token is not None)
        assert valkey.reauthentications == 0
        client.connection_pool.release(connection)
        assert valkey.reauthentications == 1


def test_several_clients_share_a_provider(client_options, source, valkey):
    """Each client's connections get the new token, and so do those of a subscription."""
    with (
        redis.Redis(**client_options) as first,
        redis.Redis(**client_options) as second,
        second.pubsub() as channel,
    ):
        open_connections(first, 1)
        channel.subscribe("news")
        assert channel.get_message(timeout=GUARD_SECONDS)["type"] == "subscribe"
        source.get_token(force_refresh=True)
        until(lambda: valkey.reauthentications == 2)
        first.publish("news", "flash")
        assert channel.get_message(timeout=GUARD_SECONDS)["data"] == b"flash"


def test_from_url_registers_nothing_unless_the_client_has_the_provider(valkey, credentials, source):
    """redis-py registers the pool of a client that got the provider itself, and no other."""
    url = f"redis://127.0.0.1:{valkey.port}?protocol=3"
    pool = redis.ConnectionPool.from_url(url, credential_provider=credentials)
    with (
        redis.Redis.from_url(url, credential_provider=credentials) as unregistered,
        redis.Redis(connection_pool=pool, credential_provider=credentials) as registered,
    ):
        open_connections(unregistered, 2)
        open_connections(registered, 1)
        source.get_token(force_refresh=True)
        until(lambda: valkey.reauthentications == 1)
    pool.disconnect()


def test_a_client_on_an_event_loop(client_options, source, valkey):
    """An async client's connections authenticate on its own event loop, which is not blocked."""

    async def main():
        async with redis.asyncio.Redis(**client_options) as client:
            number = await client.client_id()
            await source.aio.get_token(force_refresh=True)
            await reaches(valkey, 1)
            assert await client.client_id() == number

    asyncio.run(main())


def test_an_async_client_made_before_its_event_loop(client_options, source, valkey):
    """A client that was created at module level is served on the loop that uses it."""
    client = redis.asyncio.Redis(**client_options)

    async def main(renewals):
        async with client:
            await client.ping()
            await source.aio.get_token(force_refresh=True)
            await reaches(valkey, renewals)

    asyncio.run(main(1))
    asyncio.run(main(2))


def test_a_blocking_client_made_on_an_event_loop(client_options, source, valkey):
    """It outlives the loop: its connections authenticate on another thread."""

    async def make():
        return redis.Redis(**client_options)

    with asyncio.run(make()) as client:
        open_connections(client, 1)
        source.get_token(force_refresh=True)
        until(lambda: valkey.reauthentications == 1)


def test_the_default_keeper_may_be_set_after_the_client(valkey, keeper, monkeypatch):
    """A client at module level follows the keeper that is the default when it connects."""
    source = get_default_source("api")
    credentials = StreamingKeeperCredentialProvider(source, username=USER)
    with redis.Redis(port=valkey.port, credential_provider=credentials, protocol=3) as client:
        keeper.get_token("api")
        monkeypatch.setattr("tokenkeeper.default_source.get_default_keeper", lambda: keeper)
        open_connections(client, 1)
        keeper.get_token("api", force_refresh=True)
        until(lambda: valkey.reauthentications == 1)


def test_two_event_loops_share_a_provider(client_options, source, valkey):
    """The connections of a client authenticate on the loop that it was created on."""
    ready, done = threading.Barrier(2), threading.Event()

    async def main(renews):
        async with redis.asyncio.Redis(**client_options) as client:
            await client.ping()
            await asyncio.to_thread(ready.wait, GUARD_SECONDS)
            if renews:
                await source.aio.get_token(force_refresh=True)
                await reaches(valkey, 2)
                done.set()
            assert await asyncio.to_thread(done.wait, GUARD_SECONDS)
            assert await client.ping()

    outcomes = at_once(lambda: asyncio.run(main(True)), lambda: asyncio.run(main(False)))
    assert outcomes == [None, None]


async def reaches(valkey, count):
    """Wait until *count* connections authenticated again, with the event loop running."""
    await until_async(lambda: valkey.reauthentications >= count)
    assert valkey.reauthentications == count


def ours(caplog):
    """Return the records of our loggers."""
    return [each for each in caplog.records if each.name.startswith("tokenkeeper")]


@pytest.mark.skipif(
    Version(metadata.version("redis")) < Version("8"),
    reason="redis-py leaves a coroutine unawaited here",
)
def test_lost_connections_are_made_again(client_options, source, valkey, caplog):
    """If connections are lost, one warning says so, and commands go on."""
    caplog.set_level(logging.WARNING, "tokenkeeper")
    with redis.Redis(**client_options) as client:
        open_connections(client, 2)
        valkey.disconnect_clients()
        source.get_token(force_refresh=True)
        until(lambda: ours(caplog))
        assert client.ping()
    [record] = ours(caplog)
    assert "could not authenticate all open connections" in record.getMessage()
    assert source.get_token() not in caplog.text


def test_a_client_that_is_gone_is_not_served(client_options, credentials, source, valkey):
    """A client is held weakly, and forgotten when the next one is created."""
    redis.Redis(**client_options).close()
    gc.collect()
    redis.Redis(**client_options).close()
    assert len(credentials._listeners) == 1


def test_the_token_is_renewed_while_there_is_a_client(valkey, server, requests_of):
    """Idle connections get new tokens although no code asks for one."""
    server.lifetime_seconds = 2
    with TokenKeeper() as keeper:
        keeper.add_provider(server.provider("api"))
        credentials = StreamingKeeperCredentialProvider(keeper, "api", username=USER)
        with redis.Redis(port=valkey.port, credential_provider=credentials, protocol=3) as client:
            open_connections(client, 1)
            until(lambda: valkey.reauthentications >= 2)


def test_the_form_of_a_token(credentials, source):
    """redis-py gets milliseconds, and the name of the user as ``oid``."""
    seen = []
    credentials.on_next(seen.append)
    credentials.get_credentials()
    token = source.token(force_refresh=True)
    until(lambda: seen)
    assert seen[0].get_value() == token.access_token
    assert seen[0].get_expires_at_ms() == token.expires_at.timestamp() * 1000
    assert 3_590_000 < seen[0].get_expires_at_ms() - seen[0].get_received_at_ms() <= 3_600_000
    assert seen[0].try_get("oid") == USER
    assert not seen[0].is_expired()
    assert credentials.is_streaming()
    credentials.on_error(seen.append)
