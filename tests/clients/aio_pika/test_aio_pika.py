"""aio-pika and RabbitMQ: tokens that are rejected, that expire, and connections that drop."""

import asyncio
import contextlib
import gc
import traceback
import weakref
from importlib import metadata

import aio_pika
import pytest
from aiormq.exceptions import ChannelAccessRefused, ProbableAuthenticationError
from kit.guards import GUARD_SECONDS
from kit.loops import run
from packaging.version import Version

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations.aio_pika import connect, connect_robust, keep_authenticated
from tokenkeeper.testing import Answer

CROWD = 8

# Before 10.2, a connection that could not be opened is noisy when it is garbage collected.
pytestmark = (
    [pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]
    if Version(metadata.version("aio-pika")) < Version("10.2")
    else []
)


async def declare(connection):
    """Declare a queue on a new channel, which needs a valid token."""
    async with connection.channel() as channel:
        return await channel.declare_queue("", exclusive=True)


async def round_trip(connection):
    """Send a message through a queue, and return it."""
    async with connection.channel() as channel:
        queue = await channel.declare_queue("", exclusive=True)
        message = aio_pika.Message(b"hello")
        await channel.default_exchange.publish(message, queue.name)
        received = await queue.get(timeout=GUARD_SECONDS)
        await received.ack()
        return received.body


async def ignore(*_, **__):
    """Do nothing."""


async def drop(connection):
    """Have the connection break, and return once it has connected again."""
    again = asyncio.get_running_loop().create_future()
    connection.reconnect_callbacks.add(lambda *_: again.done() or again.set_result(True))
    await connection.transport.connection.close(ConnectionError("dropped"))
    await again


@pytest.mark.parametrize("open_connection", [connect, connect_robust])
def test_a_message(source, broker, open_connection, requests_of):
    """A connection sends messages, whether its place is a URL or given in parts."""

    async def main():
        async with await open_connection(source, broker.url) as connection:
            assert await round_trip(connection) == b"hello"
        parts = {"host": "127.0.0.1", "port": broker.port}
        async with await open_connection(source, **parts) as connection:
            assert await round_trip(connection) == b"hello"

    run(main())
    assert requests_of() == 1


def test_tls(source, broker):
    """A connection by TLS gets renewed tokens as well."""

    async def main():
        url = f"amqps://localhost:{broker.tls_port}/"
        async with await connect_robust(source, url, ssl_context=broker.context) as connection:
            await source.aio.get_token(force_refresh=True)
            assert await round_trip(connection) == b"hello"

    run(main())


def test_a_crowd_survives_the_expiry(source, broker, short_token, wait_for_expiry, crowd_of_tasks):
    """Open connections get the renewed token; one that does not is refused once it expired."""

    async def main():
        async with contextlib.AsyncExitStack() as stack:
            plain = await aio_pika.connect(broker.url.replace("//", f"//:{short_token}@"))
            await stack.enter_async_context(plain)
            connections = [
                await stack.enter_async_context(await connect_robust(source, broker.url))
                for _ in range(CROWD)
            ]
            await asyncio.to_thread(wait_for_expiry)
            messages = await crowd_of_tasks(CROWD, lambda: round_trip(connections.pop()))
            assert messages == [b"hello"] * CROWD
            with pytest.raises(ChannelAccessRefused, match="expired"):
                await declare(plain)

    run(main())


def test_a_crowd_with_a_rejected_token(source, broker, rejected_first, requests_of, crowd_of_tasks):
    """Many connections whose token is rejected cause one renewal."""

    async def one():
        async with await connect_robust(source, broker.url) as connection:
            return await round_trip(connection)

    assert run(crowd_of_tasks(CROWD, one)) == [b"hello"] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("open_connection", [connect, connect_robust])
def test_a_second_rejection_is_the_caller_s(server, source, broker, open_connection, requests_of):
    """If the next token is rejected as well, the caller gets the error, without a token."""
    for number in (1, 2):
        body = {"access_token": f"not-a-jwt-{number}", "token_type": "Bearer", "expires_in": 60}
        server.script(Answer(200, body))

    async def main():
        with pytest.raises(ProbableAuthenticationError) as refused:
            await open_connection(source, broker.url)
        assert "not-a-jwt" not in repr(refused.value)
        frames = traceback.walk_tb(refused.tb)
        seen = [frame.f_locals for frame, _ in frames if frame.f_code.co_filename != __file__]
        assert seen
        assert "not-a-jwt" not in repr(seen)

    run(main())
    assert requests_of() == 2


def test_connecting_again_after_the_expiry(source, broker, short_token, wait_for_expiry):
    """A robust connection that drops after its first token expired connects with the next."""

    async def main():
        async with await connect_robust(source, broker.url, reconnect_interval=0.05) as connection:
            await asyncio.to_thread(wait_for_expiry)
            await drop(connection)
            assert await round_trip(connection) == b"hello"

    run(main())


def test_a_rejection_while_connecting_again(server, source, broker, requests_of):
    """A token that the broker rejects when a connection connects again is renewed once."""

    async def main():
        async with await connect_robust(source, broker.url, reconnect_interval=0.05) as connection:
            body = {"access_token": "not-a-jwt", "token_type": "Bearer", "expires_in": 3600}
            server.script(Answer(200, body))
            connection.update_secret = ignore  # the broker would close the connection
            assert await source.aio.get_token(force_refresh=True) == "not-a-jwt"
            while connection.url.password != "not-a-jwt":
                await asyncio.sleep(0)
            await drop(connection)
            assert await round_trip(connection) == b"hello"

    run(main())
    assert requests_of() == 3


def test_a_revoked_token(server, source, broker, requests_of):
    """RabbitMQ verifies tokens itself, so it accepts a revoked one until that expires."""

    async def main():
        async with await connect_robust(source, broker.url) as connection:
            server.revoke_all()
            await declare(connection)
        async with await connect_robust(source, broker.url) as connection:
            await declare(connection)

    run(main())
    assert requests_of() == 1


def test_without_a_token(server, source, broker):
    """If there is no token, connecting raises the keeper's error."""

    async def main():
        with server.outage(), pytest.raises(TokenAcquisitionError):
            await connect_robust(source, broker.url)

    run(main())


def test_a_token_renewed_while_connecting(source, broker, monkeypatch):
    """A renewal between the login and the subscription is not missed."""
    subscribe = source.subscribe
    monkeypatch.setattr(
        type(source),
        "subscribe",
        lambda _, callback: (source.get_token(force_refresh=True), subscribe(callback))[1],
    )

    async def main():
        async with await connect(source, broker.url) as connection:
            assert connection.url.password == source.get_token()

    run(main())


def test_a_connection_that_is_gone(source, broker):
    """A closed connection gets no token, and the subscription does not keep it in memory."""

    async def main():
        connection = await connect_robust(source, broker.url)
        await connection.close()
        await source.aio.get_token(force_refresh=True)
        found = weakref.ref(connection)
        del connection
        await asyncio.sleep(0)
        gc.collect()
        assert found() is None
        await source.aio.get_token(force_refresh=True)

    run(main())


def test_it_can_be_ended(source, broker):
    """After the returned function was called, the connection gets no more tokens."""

    async def main():
        url = broker.url.replace("//", f"//:{await source.aio.get_token()}@")
        async with await aio_pika.connect(url) as connection:
            before = connection.url
            stop = keep_authenticated(connection, source)
            stop()
            await source.aio.get_token(force_refresh=True)
            await declare(connection)
            assert connection.url == before

    run(main())


def test_the_example(run_example, broker):
    """The program of the page prints the message that it received."""
    assert "hello" in run_example("aio_pika", AMQP_URL=broker.url)
