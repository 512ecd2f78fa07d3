"""confluent-kafka against a broker that asks the authorization server about each token."""

import asyncio

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient
from kit.guards import until
from kit.servers.kafka_broker import KafkaBroker

from tokenkeeper.integrations import confluent_kafka
from tokenkeeper.integrations.confluent_kafka import KeeperOAuthCallback, configuration


@pytest.fixture
def broker(server, request):
    """Return a broker that rejects a token by a challenge, or with an error at once."""
    with KafkaBroker(server.is_alive, challenges=getattr(request, "param", True)) as broker:
        yield broker


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Have librdkafka ask every second."""
    monkeypatch.setattr(confluent_kafka, "STATED_SECONDS", 1.25)
    monkeypatch.setattr(confluent_kafka, "SETTLING_SECONDS", 0.3)


def settings_of(broker, source, **more):
    return {
        "bootstrap.servers": broker.address,
        "security.protocol": "SASL_PLAINTEXT",
        "reconnect.backoff.max.ms": 200,
        "log_level": 0,
        **configuration(source, **more),
    }


def topics(client):
    """Return the topics, or ``None`` if the request failed."""
    try:
        return set(client.list_topics(timeout=1).topics)
    except KafkaException:
        client.poll(0)
        return None


def recovered(client):
    """Return the topics as soon as the request succeeds."""
    return until(lambda: topics(client), "the topics")


def consumer(settings):
    return Consumer({**settings, "group.id": "billing"})


@pytest.mark.parametrize("broker", [True, False], ids=["challenge", "error"], indirect=True)
def test_many_clients_recover_with_one_renewal(server, broker, source, crowd, requests_of):
    """Clients that poll recover from a revocation with one renewal."""
    errors = []
    kinds = iter([Producer, AdminClient, consumer] * 3)
    made = crowd(9, lambda: next(kinds)(settings_of(broker, source, error_cb=errors.append)))
    assert [topics(client) for client in made] == [{"orders"}] * 9
    server.revoke_all()
    broker.drop_connections()
    waiting = iter(made)
    results = crowd(9, lambda: recovered(next(waiting)))
    assert results == [{"orders"}] * 9
    assert requests_of() == 2
    assert KafkaError._AUTHENTICATION in [error.code() for error in errors]


def test_without_an_error_callback_clients_stay_rejected(server, broker, source, requests_of):
    """A client with ``oauth_cb`` alone presents a rejected token until it is renewed elsewhere."""
    settings = settings_of(broker, source)
    del settings["error_cb"]
    client = Producer(settings)
    server.revoke_all()
    broker.drop_connections()
    presented = len(broker.tokens)
    until(lambda: topics(client) or len(broker.tokens) > presented + 3, "attempts")
    assert topics(client) is None
    assert len(set(broker.tokens)) == 1
    assert requests_of() == 1


def test_an_async_client_recovers(server, broker, source, requests_of):
    """A client of ``confluent_kafka.aio`` awaits the callback, and recovers in the same way."""
    aio = pytest.importorskip("confluent_kafka.aio", reason="older than its async clients")

    async def use():
        settings = settings_of(broker, source)
        async with aio.AIOConsumer({**settings, "group.id": "billing"}) as client:
            await client.list_topics(timeout=5)
            server.revoke_all()
            broker.drop_connections()
            while True:
                try:
                    return set((await client.list_topics(timeout=1)).topics)
                except KafkaException:
                    await client.poll(0)

    assert asyncio.run(use()) == {"orders"}
    assert requests_of() == 2


def test_an_async_error_callback_is_awaited(source):
    """The configuration returns what the caller's own callback does."""

    async def own(error):
        return error.name()

    error = KafkaError(KafkaError._AUTHENTICATION)
    answer = configuration(source, error_cb=own)["error_cb"](error)
    assert asyncio.run(answer) == "_AUTHENTICATION"


def test_the_example(broker, run_example):
    """The program of the page lists the topics."""
    variables = {"KAFKA_BROKERS": broker.address, "KAFKA_PROTOCOL": "SASL_PLAINTEXT"}
    assert run_example("confluent_kafka", **variables) == "orders\n"


def test_an_open_connection_is_authenticated_again(server, source):
    """A client authenticates again before the session that the broker granted ends (KIP-368)."""
    with KafkaBroker(server.is_alive, session_seconds=1) as broker:
        client = Producer(settings_of(broker, source))
        assert topics(client) == {"orders"}
        opened = broker.connections
        token = source.get_token(force_refresh=True)
        until(lambda: broker.tokens[-1] == token, "a new authentication")
        assert broker.connections == opened
        assert topics(client) == {"orders"}


def test_an_outage_goes_unnoticed_while_the_token_is_valid(server, broker, source):
    """New connections are authenticated with the current token during an outage."""
    source.get_token()
    with server.outage():
        client = Producer(settings_of(broker, source, extensions={"logicalCluster": "lkc"}))
        assert topics(client) == {"orders"}
    assert broker.extensions == {"logicalCluster": "lkc"}


def test_errors_of_the_token_before_are_ignored(source, requests_of, monkeypatch):
    """An error that the application polls after the token was replaced causes no renewal."""
    error = KafkaError(KafkaError._AUTHENTICATION)
    callback = KeeperOAuthCallback(source)
    callback.on_error(error)
    callback(None)
    callback.on_error(error)
    callback(None)  # it would wait for a renewal
    assert requests_of() == 1
    monkeypatch.setattr(confluent_kafka, "SETTLING_SECONDS", 0.0)
    callback.on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
    callback(None)
    assert requests_of() == 1
    callback.on_error(error)
    callback(None)
    assert requests_of() == 2


def test_no_token_is_shown(source):
    """The representation of a callback contains no token."""
    callback = KeeperOAuthCallback(source)
    token, *_ = callback(None)
    assert token not in repr(callback) + repr(vars(callback))
