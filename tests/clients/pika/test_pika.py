"""pika and RabbitMQ: tokens that are rejected, that expire, and that are revoked."""

import asyncio
import copy
import gc
import pickle
import threading
import weakref
from contextlib import ExitStack

import pika
import pytest
from kit.guards import GUARD_SECONDS, until
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import ChannelClosedByBroker, ProbableAuthenticationError

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations.pika import TokenCredentials, connect, keep_authenticated
from tokenkeeper.testing import Answer

CROWD = 8


@pytest.fixture
def parameters(broker):
    """Return where the broker listens."""
    return pika.ConnectionParameters("127.0.0.1", broker.port)


def declare(connection):
    """Declare a queue on a new channel, which needs a valid token."""
    channel = connection.channel()
    channel.queue_declare("", exclusive=True)
    channel.close()


def round_trip(connection):
    """Send a message through a queue, and return it."""
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"hello")
    _, _, body = next(channel.consume(queue, inactivity_timeout=GUARD_SECONDS))
    return body


def test_a_message(source, parameters, requests_of):
    """Connections send messages, and need one token."""
    for _ in range(2):
        with connect(source, parameters) as connection:
            assert round_trip(connection) == b"hello"
    assert requests_of() == 1


def test_tls(source, broker):
    """A connection by TLS gets renewed tokens as well."""
    parameters = pika.ConnectionParameters(
        "localhost", broker.tls_port, ssl_options=pika.SSLOptions(broker.context, "localhost")
    )
    with connect(source, parameters) as connection:
        source.get_token(force_refresh=True)
        assert round_trip(connection) == b"hello"


def test_a_crowd_survives_the_expiry(source, parameters, short_token, wait_for_expiry, crowd):
    """Open connections get the renewed token; one that does not is refused once it expired."""
    with ExitStack() as stack:
        alone = pika.ConnectionParameters(
            parameters.host, parameters.port, credentials=TokenCredentials(source)
        )
        forgotten = stack.enter_context(pika.BlockingConnection(alone))
        connections = [stack.enter_context(connect(source, parameters)) for _ in range(CROWD)]
        wait_for_expiry()

        def one():
            connection = connections.pop()
            connection.process_data_events()  # what a consumer does all the time
            return round_trip(connection)

        assert crowd(CROWD, one) == [b"hello"] * CROWD
        with pytest.raises(ChannelClosedByBroker, match="expired"):
            declare(forgotten)


def test_a_consumer_survives_the_expiry(source, parameters, short_token, wait_for_expiry):
    """A connection that only consumes gets the renewed token while it waits."""
    with connect(source, parameters) as connection:
        updated, send = [], connection.update_secret

        def update(token, reason):
            send(token, reason)
            updated.append(token)

        connection.update_secret = update
        channel = connection.channel()
        queue = channel.queue_declare("", exclusive=True).method.queue
        for _ in channel.consume(queue, inactivity_timeout=0.05):  # as a consumer's loop does
            if updated:
                break
        channel.cancel()
        wait_for_expiry()
        declare(connection)


def test_a_crowd_with_a_rejected_token(source, parameters, rejected_first, requests_of, crowd):
    """Many connections whose token is rejected cause one renewal."""
    outcomes = crowd(CROWD, lambda: connect(source, parameters))
    for connection in outcomes:
        declare(connection)
        connection.close()
    assert requests_of() == 2


def test_a_second_rejection_is_the_caller_s(server, source, parameters, requests_of):
    """If the next token is rejected as well, the caller gets pika's error, without a token."""
    for number in (1, 2):
        body = {"access_token": f"not-a-jwt-{number}", "token_type": "Bearer", "expires_in": 60}
        server.script(Answer(200, body))
    with pytest.raises(ProbableAuthenticationError) as refused:
        connect(source, parameters)
    assert "not-a-jwt" not in repr(refused.value)
    assert requests_of() == 2


def test_a_revoked_token(server, source, parameters, requests_of):
    """RabbitMQ verifies tokens itself, so it accepts a revoked one until that expires."""
    with connect(source, parameters) as connection:
        server.revoke_all()
        declare(connection)
    with connect(source, parameters) as connection:
        declare(connection)
    assert requests_of() == 1


def test_without_a_token(server, source, parameters):
    """If there is no token, connecting raises the keeper's error."""
    with server.outage(), pytest.raises(TokenAcquisitionError):
        connect(source, parameters)


def test_an_outage(server, source, parameters):
    """An outage of the authorization server does not disturb an open connection."""
    with connect(source, parameters) as connection, server.outage():
        assert source.keeper.refresh_all() == {"api": False}
        declare(connection)


def test_a_token_renewed_while_connecting(source, parameters, monkeypatch):
    """A renewal between the login and the subscription is not missed."""
    sent = []
    monkeypatch.setattr(
        pika.BlockingConnection, "update_secret", lambda _, token, reason: sent.append(token)
    )
    subscribe = source.subscribe
    monkeypatch.setattr(
        type(source),
        "subscribe",
        lambda _, callback: (source.get_token(force_refresh=True), subscribe(callback))[1],
    )
    connect(source, parameters).close()
    assert sent == [source.get_token()]


class Selected:
    """pika's own event loop on a thread of its own."""

    def __init__(self, parameters):
        self.events = []
        self.connection = pika.SelectConnection(
            parameters, on_open_callback=self.opened, on_close_callback=self.closed
        )
        self.thread = threading.Thread(target=self.connection.ioloop.start)
        self.thread.start()

    def opened(self, _):
        self.events.append("opened")

    def closed(self, _, reason):
        self.events.append(reason)
        self.connection.ioloop.stop()

    def close(self):
        self.connection.ioloop.add_callback_threadsafe(self.connection.close)
        self.thread.join(GUARD_SECONDS)
        self.connection.ioloop.close()


def test_pika_s_own_event_loop(source, parameters):
    """On a SelectConnection a new token is sent by its event loop."""
    parameters.credentials = TokenCredentials(source)
    client = Selected(parameters)
    try:
        until(lambda: client.events == ["opened"])
        updated = []
        update = client.connection.update_secret
        client.connection.update_secret = lambda token, reason: update(
            token, reason, lambda _: updated.append((token, threading.current_thread()))
        )
        keep_authenticated(client.connection, source)
        token = source.get_token(force_refresh=True)
        until(lambda: updated == [(token, client.thread)])
    finally:
        client.close()


def test_asyncio(source, parameters):
    """On an AsyncioConnection a new token is sent by asyncio's event loop."""

    async def main():
        loop = asyncio.get_running_loop()
        opened, updated, closed = loop.create_future(), loop.create_future(), loop.create_future()
        await source.aio.get_token()
        parameters.credentials = TokenCredentials(source)
        connection = AsyncioConnection(
            parameters,
            on_open_callback=opened.set_result,
            on_open_error_callback=lambda _, error: opened.set_exception(error),
            on_close_callback=lambda _, reason: closed.set_result(reason),
        )
        async with asyncio.timeout(GUARD_SECONDS):
            await opened
            update = connection.update_secret
            connection.update_secret = lambda token, reason: update(
                token, reason, lambda _: updated.set_result(token)
            )
            keep_authenticated(connection, source)
            assert await source.aio.get_token(force_refresh=True) == await updated
            connection.close()
            await closed

    asyncio.run(main())


def test_a_connection_that_is_gone(source, parameters):
    """A closed connection gets no token, and the subscription does not keep it in memory."""
    connection = connect(source, parameters)
    connection.close()
    source.get_token(force_refresh=True)
    found = weakref.ref(connection)
    del connection
    gc.collect()
    assert found() is None
    source.get_token(force_refresh=True)


def test_credentials_stay_here(source):
    """Copies of credentials, which pika makes, are the same object, and they can't be pickled."""
    credentials = TokenCredentials(source)
    token = source.get_token()
    assert copy.deepcopy(credentials) is credentials
    assert pika.ConnectionParameters(credentials=credentials).credentials is credentials
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(credentials)
    start = pika.spec.Connection.Start(mechanisms="PLAIN EXTERNAL")
    assert credentials.response_for(start) == ("PLAIN", f"\0\0{token}".encode())
    assert token not in repr(vars(credentials))


def test_the_example(run_example, broker):
    """The program of the page prints the message that it received."""
    assert "hello" in run_example("pika", AMQP_URL=broker.url)
