import asyncio
import os
import ssl

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.aiokafka import KeeperTokenProvider


async def main(source):
    provider = KeeperTokenProvider(source)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=os.environ["KAFKA_BROKERS"],
        security_protocol=os.environ.get("KAFKA_PROTOCOL", "SASL_SSL"),
        ssl_context=ssl.create_default_context(),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=provider,
    )
    try:
        await consumer.start()
    except KafkaError:  # the token may have been rejected
        await provider.renew_refused()
        await consumer.start()
    print(*sorted(await consumer.topics()))
    await consumer.stop()


with TokenKeeper.from_env() as keeper:
    asyncio.run(main(keeper.source("oauth2")))
