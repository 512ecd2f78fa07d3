"""aiokafka against a broker that asks the authorization server about each token."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError, KafkaError
from kit.servers.kafka_broker import KafkaBroker

from tokenkeeper.integrations.aiokafka import KeeperTokenProvider

CONSUMERS = 8


@pytest.fixture(params=[True, False], ids=["challenge", "error"])
def broker(server, request):
    """Return a broker that rejects a token by a challenge, or with an error at once."""
    with KafkaBroker(server.is_alive, challenges=request.param) as broker:
        yield broker


def consumer_of(broker, provider):
    return AIOKafkaConsumer(
        bootstrap_servers=broker.address,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=provider,
        retry_backoff_ms=10,
    )


async def recovered(consumer, provider):
    """Return the topics, after a renewal if they can't be read; a connection may be lost first."""
    for _ in range(5):
        try:
            return await consumer.topics()
        except KafkaError:
            await provider.renew_refused()
            await asyncio.sleep(0.02)  # aiokafka's pause before it connects again
    return None


async def until_it_fails(consumer):
    """Use *consumer* until its session has ended."""
    with suppress(KafkaError):
        while True:
            await consumer.topics()
            await asyncio.sleep(0.02)


def test_many_consumers_recover_with_one_renewal(
    server, broker, source, crowd_of_tasks, requests_of
):
    """Consumers whose tasks call ``renew_refused`` recover from a revocation with one renewal."""

    async def use():
        async with AsyncExitStack() as stack:
            pairs = []
            for _ in range(CONSUMERS):
                provider = KeeperTokenProvider(source)
                consumer = consumer_of(broker, provider)
                await consumer.start()
                stack.push_async_callback(consumer.stop)
                pairs.append((consumer, provider))
            server.revoke_all()
            broker.drop_connections()
            waiting = iter(pairs)
            return await crowd_of_tasks(CONSUMERS, lambda: recovered(*next(waiting)))

    assert asyncio.run(use()) == [{"orders"}] * CONSUMERS
    assert requests_of() == 2


def test_a_rejected_token_is_not_reported(server, broker, source, requests_of):
    """Without ``renew_refused`` the client presents the rejected token again, until it expires."""

    async def use():
        source.get_token()
        server.revoke_all()
        consumer = consumer_of(broker, KeeperTokenProvider(source))
        try:
            for _ in range(3):
                with pytest.raises(KafkaConnectionError):
                    await consumer.start()
        finally:
            await consumer.stop()

    asyncio.run(use())
    assert len(set(broker.tokens)) == 1
    assert requests_of() == 1


def test_a_closed_session_is_opened_with_the_current_token(server, source):
    """The broker ends a session that was not renewed; the next one has the current token."""

    async def use(broker):
        consumer = consumer_of(broker, KeeperTokenProvider(source))
        await consumer.start()
        try:
            token = await source.aio.get_token(force_refresh=True)
            await until_it_fails(consumer)
            await asyncio.sleep(0.02)
            assert await consumer.topics() == {"orders"}
            assert broker.tokens[-1] == token
        finally:
            await consumer.stop()

    with KafkaBroker(server.is_alive, session_seconds=0.5) as broker:
        asyncio.run(use(broker))


def test_an_outage_goes_unnoticed_while_the_token_is_valid(server, broker, source):
    """New connections are authenticated with the current token during an outage."""

    async def use():
        consumer = consumer_of(
            broker, KeeperTokenProvider(source, extensions={"logicalCluster": "lkc-1"})
        )
        await consumer.start()
        try:
            return await consumer.topics()
        finally:
            await consumer.stop()

    source.get_token()
    with server.outage():
        assert asyncio.run(use()) == {"orders"}
    assert broker.extensions == {"logicalCluster": "lkc-1"}


def test_the_example(broker, run_example):
    """The program of the page lists the topics."""
    variables = {"KAFKA_BROKERS": broker.address, "KAFKA_PROTOCOL": "SASL_PLAINTEXT"}
    assert run_example("aiokafka", **variables) == "orders\n"


def test_no_token_is_shown(source):
    """The representation of a provider contains no token."""
    provider = KeeperTokenProvider(source)
    assert asyncio.run(provider.token()) not in repr(provider) + repr(vars(provider))
