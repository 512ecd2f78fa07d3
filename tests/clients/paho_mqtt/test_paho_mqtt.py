"""paho-mqtt with RabbitMQ, and with a broker that rejects revoked tokens."""

import os
import ssl
import subprocess
import sys
from contextlib import ExitStack, contextmanager

import paho.mqtt.client as mqtt
import pytest
import trustme
from kit.guards import until
from kit.servers.mqtt_stub import MQTTStub
from kit.servers.tls import context_of

from tokenkeeper import RetryPolicy, TokenKeeper
from tokenkeeper.integrations.paho_mqtt import authenticate
from tokenkeeper.testing import LoopbackAuthorizationServer

CROWD = 8
V2 = mqtt.CallbackAPIVersion.VERSION2


class Connected:
    """A client whose network loop runs, with what happened to it."""

    def __init__(self, source, port, *, protocol=mqtt.MQTTv311, context=None, **options):
        self.messages, self.reasons, self.losses, self.failures = [], [], [], []
        self.client = mqtt.Client(V2, protocol=protocol)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = lambda *_: self.losses.append(True)
        self.client.on_connect_fail = lambda *_: self.failures.append(True)
        self.client.on_message = lambda *arrived: self.messages.append(arrived[-1].payload)
        if context:
            self.client.tls_set_context(context)
        authenticate(self.client, source, **options)
        self.client.connect("localhost" if context else "127.0.0.1", port)
        self.client.loop_start()

    def on_connect(self, client, userdata, flags, reason, properties):
        self.reasons.append(reason)
        if not reason.is_failure:
            client.subscribe(f"things/{id(self)}", qos=1)

    @property
    def is_connected(self):
        return self.client.is_connected()

    def round_trip(self):
        """Send messages until one arrives."""
        until(lambda: self.is_connected)
        before = len(self.messages)
        self.client.publish(f"things/{id(self)}", b"hello", qos=1)
        until(lambda: len(self.messages) > before, pause=0.02)
        return self.messages[-1]

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def connected(*arguments, **options):
    """Run a client until the block ends."""
    client = Connected(*arguments, **options)
    try:
        yield client
    finally:
        client.close()


def test_a_message(source, broker, requests_of):
    """Clients send and receive messages, and need one token."""
    for _ in range(2):
        with connected(source, broker.mqtt_port) as client:
            assert client.round_trip() == b"hello"
    assert requests_of() == 1


def test_a_crowd_with_a_rejected_token(source, broker, rejected_first, requests_of):
    """Many clients whose token RabbitMQ rejects connect again, after one renewal."""
    with ExitStack() as stack:
        clients = [stack.enter_context(connected(source, broker.mqtt_port)) for _ in range(CROWD)]
        for client in clients:
            assert client.round_trip() == b"hello"
            assert client.reasons[0].is_failure
    assert requests_of() == 2


def test_a_connection_survives_the_expiry(source, broker, short_token, wait_for_expiry):
    """With ``reconnect``, a client connects again with the renewed token."""
    with connected(source, broker.mqtt_port, reconnect=True) as client:
        until(lambda: client.losses)  # the renewal, before the expiry
        wait_for_expiry()
        assert client.round_trip() == b"hello"


def test_an_expiry_without_reconnect(source, broker, short_token, wait_for_expiry):
    """Otherwise RabbitMQ drops the connection at the next subscription, and paho comes back."""
    with connected(source, broker.mqtt_port) as client:
        assert client.round_trip() == b"hello"
        wait_for_expiry()
        assert not client.losses
        client.client.subscribe("others", qos=1)
        until(lambda: client.losses)
        assert client.round_trip() == b"hello"
    assert not any(reason.is_failure for reason in client.reasons)


class WithStub:
    """Tests with a broker that asks about each token."""

    @pytest.fixture
    def server(self):
        with LoopbackAuthorizationServer() as server:
            yield server

    @pytest.fixture
    def stub(self, server):
        with MQTTStub(server.is_alive) as stub:
            yield stub


class TestRevocation(WithStub):
    """Tokens that the broker rejects because they were revoked."""

    @pytest.mark.parametrize("protocol", [mqtt.MQTTv311, mqtt.MQTTv5])
    def test_a_crowd(self, server, source, stub, requests_of, protocol):
        """Clients that drop after a revocation come back, after one renewal."""
        with ExitStack() as stack:
            clients = [
                stack.enter_context(connected(source, stub.port, protocol=protocol))
                for _ in range(CROWD)
            ]
            until(lambda: all(client.is_connected for client in clients))
            server.revoke_all()
            stub.drop_all()
            until(lambda: all(len(client.reasons) == 3 for client in clients))
        assert (stub.accepted, stub.rejected) == (2 * CROWD, CROWD)
        assert requests_of() == 2

    def test_tls(self, server, source):
        """With ``reconnect``, a client that uses TLS connects again with each renewed token."""
        authority, trusting = trustme.CA(), ssl.create_default_context()
        authority.configure_trust(trusting)
        with (
            MQTTStub(server.is_alive, context_of(authority, "localhost")) as stub,
            connected(source, stub.port, context=trusting, reconnect=True) as client,
        ):
            until(lambda: client.is_connected)
            source.get_token(force_refresh=True)
            until(lambda: stub.accepted == 2)

    @pytest.mark.parametrize("number", [4, 5])
    @pytest.mark.filterwarnings("ignore:Callback API version 1:DeprecationWarning")
    def test_the_old_callbacks(self, source, stub, number):
        """A client with callbacks of version 1 recovers, too."""
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1)
        before, seen = source.get_token(), []
        client.on_pre_connect = lambda *_: seen.append("before")
        client.on_connect = lambda *arguments: seen.append(arguments[3])
        authenticate(client, source, "user")
        client.on_pre_connect(client, None)
        client.on_connect(client, None, {}, number)
        client.on_pre_connect(client, None)
        assert source.get_token() != before
        assert seen == ["before", number, "before"]


class TestOutage(WithStub):
    """An authorization server that is down."""

    @pytest.fixture
    def keeper(self, server):
        with TokenKeeper(retry=RetryPolicy(attempts=1)) as keeper:
            keeper.add_provider(server.provider("api"))
            yield keeper

    def test_connecting(self, server, source, stub):
        """Without a token, connect() raises a ConnectionError with the keeper's as its cause."""
        with server.outage(), pytest.raises(ConnectionError, match="HTTP 503"):
            Connected(source, stub.port)
        assert stub.accepted == 0

    def test_the_loop_goes_on(self, server, keeper, source, stub):
        """The network loop tries again until there is a token."""
        with connected(source, stub.port) as client:
            client.client.reconnect_delay_set(1, 1)
            until(lambda: client.is_connected)
            with server.outage():
                keeper.clear_token("api")
                stub.drop_all()
                until(lambda: client.failures)
            until(lambda: stub.accepted == 2)


PROGRAM = """
import gc, weakref
import paho.mqtt.client as mqtt
from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.paho_mqtt import authenticate
from tokenkeeper.testing import MockProvider

with TokenKeeper() as keeper:
    keeper.add_provider(MockProvider("api"))
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    authenticate(client, keeper.source("api"), reconnect=True)
    keeper.get_token("api", force_refresh=True)
    found = weakref.ref(client)
    del client
    gc.collect()
    assert found() is None
    keeper.get_token("api", force_refresh=True)
"""


def test_a_client_that_is_gone():
    """The subscription does not keep a client in memory."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], env=os.environ, timeout=60, text=True
    )
    assert done.returncode == 0


def test_the_example(run_example, broker):
    """The program of the page prints the message that it received."""
    printed = run_example("paho_mqtt", MQTT_HOST="127.0.0.1", MQTT_PORT=broker.mqtt_port)
    assert "hello" in printed
