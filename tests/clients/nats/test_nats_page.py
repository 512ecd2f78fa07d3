"""The cookbook's page on nats-py, with nats-server behind a guard."""

import asyncio

import nats
import pytest
from kit.cookbook import example
from kit.guards import GUARD_SECONDS, until_async
from kit.servers import nats as nats_server

# nats-py leaves the writer of a connection open that the server refused.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored .*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning",
)

SOON = {"reconnect_time_wait": 0.05, "max_reconnect_attempts": 20}


@pytest.fixture(scope="module")
def broker(tmp_path_factory):
    """Return nats-server, which one module's tests share."""
    with nats_server.start(tmp_path_factory.mktemp("nats")) as program:
        yield program


@pytest.fixture
def guard(server, broker, monkeypatch):
    """Return the guard; the example connects to it."""
    with nats_server.Guard(server.is_alive, broker) as guard:
        monkeypatch.setenv("NATS_URL", guard.url)
        yield guard


async def echo(connection):
    """Return what the connection receives of what it sends."""
    inbox = await connection.subscribe(connection.new_inbox())
    await connection.publish(inbox.subject, b"42")
    message = await inbox.next_msg(timeout=GUARD_SECONDS)
    await inbox.unsubscribe()
    return message.data


async def until_reconnected(connection, count):
    """Wait until the connection was restored that many times."""
    await until_async(lambda: connection.stats["reconnects"] >= count and connection.is_connected)


def test_connections_recover_with_one_renewal(server, source, guard, requests_of):
    """Connections that come back with a revoked token share one renewal."""
    connect = example("nats_py").connect

    async def main():
        crowd = [await connect(source, **SOON) for _ in range(8)]
        server.revoke_all()
        guard.drop()
        for connection in crowd:
            await until_reconnected(connection, 1)
            assert await echo(connection) == b"42"
        for connection in crowd:
            await connection.close()

    asyncio.run(main())
    assert guard.refused >= 1
    assert requests_of() == 2


def test_a_new_connection_recovers(server, source, guard, requests_of):
    """A connection whose first token is refused tries again with another one."""
    connect = example("nats_py").connect
    source()
    server.revoke_all()

    async def main():
        connection = await connect(source, **SOON)
        assert await echo(connection) == b"42"
        await connection.close()

    asyncio.run(main())
    assert requests_of() == 2


def test_an_open_connection_stays_open(server, source, guard):
    """The server checks the token when a connection begins."""

    async def main():
        connection = await example("nats_py").connect(source)
        server.revoke_all()
        assert await echo(connection) == b"42"
        await connection.close()

    asyncio.run(main())


def test_a_callable_alone_does_not_recover(server, source, guard, requests_of):
    """A callable is asked at each attempt, and never hears that the token was refused."""
    source()
    server.revoke_all()

    async def ignore(error):
        pass

    async def main():
        options = {"reconnect_time_wait": 0.01, "max_reconnect_attempts": 2}
        with pytest.raises(nats.errors.NoServersError):
            await nats.connect(guard.url, token=source, error_cb=ignore, **options)

    asyncio.run(main())
    assert requests_of() == 1


def test_the_example_runs(run_example, guard):
    """The example receives what it has sent."""
    assert run_example("nats_py", NATS_URL=guard.url) == "42 apples\n"
