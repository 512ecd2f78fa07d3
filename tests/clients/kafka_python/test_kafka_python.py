"""kafka-python against a broker that asks the authorization server about each token."""

import pytest
from kafka import KafkaConsumer
from kafka.errors import KafkaError, SaslAuthenticationFailedError
from kafka.net.sasl.oauth import AbstractTokenProvider
from kit.guards import until
from kit.servers.kafka_broker import KafkaBroker

from tokenkeeper.integrations.kafka import KeeperTokenProvider

CONSUMERS = 8


@pytest.fixture
def broker(server):
    """Return a broker that rejects tokens as Apache Kafka does."""
    with KafkaBroker(server.is_alive) as broker:
        yield broker


@pytest.fixture
def consumer_of(request):
    """Return a function that returns a consumer of a broker, with a provider."""

    def make(broker, provider):
        consumer = KafkaConsumer(
            bootstrap_servers=broker.address,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="OAUTHBEARER",
            sasl_oauth_token_provider=provider,
        )
        request.addfinalizer(consumer.close)
        return consumer

    return make


def topics(consumer):
    """Return the topics, or ``None`` if the request failed."""
    try:
        return consumer.topics()
    except KafkaError:
        return None


def recovered(consumer):
    """Return the topics as soon as the request succeeds."""
    return until(lambda: topics(consumer), "the topics")


def test_many_consumers_recover_with_one_renewal(
    server, broker, source, consumer_of, crowd, requests_of
):
    """A token that was revoked is renewed once, and all consumers of a provider recover."""
    provider = KeeperTokenProvider(source)
    consumers = [consumer_of(broker, provider) for _ in range(CONSUMERS)]
    assert [topics(consumer) for consumer in consumers] == [{"orders"}] * CONSUMERS
    server.revoke_all()
    broker.drop_connections()
    waiting = iter(consumers)
    results = crowd(CONSUMERS, lambda: recovered(next(waiting)))
    assert results == [{"orders"}] * CONSUMERS
    assert requests_of() == 2


def test_a_token_that_is_rejected_at_once_is_not_reported(server, source, consumer_of, requests_of):
    """Without a challenge the client stays rejected until ``renew_refused`` is called."""
    with KafkaBroker(server.is_alive, challenges=False) as broker:
        provider = KeeperTokenProvider(source)
        consumer = consumer_of(broker, provider)
        server.revoke_all()
        broker.drop_connections()
        with pytest.raises(SaslAuthenticationFailedError):
            until(lambda: consumer.topics() and None)
        assert requests_of() == 1
        provider.renew_refused()
        assert recovered(consumer) == {"orders"}
        assert requests_of() == 2


def test_an_open_connection_is_authenticated_again(server, source, consumer_of):
    """A client authenticates again before the session that the broker granted ends (KIP-368)."""
    with KafkaBroker(server.is_alive, session_seconds=1) as broker:
        consumer = consumer_of(broker, KeeperTokenProvider(source))
        assert consumer.topics() == {"orders"}
        opened = broker.connections
        token = source.get_token(force_refresh=True)
        until(lambda: broker.tokens[-1] == token, "a new authentication")
        assert broker.connections == opened
        assert consumer.topics() == {"orders"}


def test_an_outage_goes_unnoticed_while_the_token_is_valid(server, broker, source, consumer_of):
    """New connections are authenticated with the current token during an outage."""
    provider = KeeperTokenProvider(source, extensions={"logicalCluster": "lkc-1"})
    source.get_token()
    with server.outage():
        assert consumer_of(broker, provider).topics() == {"orders"}
    assert broker.extensions == {"logicalCluster": "lkc-1"}


def test_the_example(broker, run_example):
    """The program of the page lists the topics."""
    variables = {"KAFKA_BROKERS": broker.address, "KAFKA_PROTOCOL": "SASL_PLAINTEXT"}
    options = [
        f"-Wignore:{name}_text is deprecated:DeprecationWarning" for name in ("read", "open")
    ]
    assert run_example("kafka_python", *options, **variables) == "orders\n"


def test_no_token_is_shown(source):
    """The representation of a provider contains no token."""
    provider = KeeperTokenProvider(source)
    assert provider.token() not in repr(provider) + repr(vars(provider))


class Own(AbstractTokenProvider):
    """A provider that is not ours."""

    def __init__(self, source):
        super().__init__()
        self._source = source

    def token(self):
        return self._source.get_token()


def test_other_providers_work_as_before(server, broker, source, consumer_of, requests_of):
    """Our mechanism serves other providers too: a rejection renews nothing."""
    consumer = consumer_of(broker, Own(source))
    assert topics(consumer) == {"orders"}
    server.revoke_all()
    broker.drop_connections()
    assert until(lambda: topics(consumer) is None, "the rejection")
    assert requests_of() == 1
