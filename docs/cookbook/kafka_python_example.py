import os

from kafka import KafkaConsumer

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.kafka import KeeperTokenProvider

with TokenKeeper.from_env() as keeper:
    consumer = KafkaConsumer(
        bootstrap_servers=os.environ["KAFKA_BROKERS"],
        security_protocol=os.environ.get("KAFKA_PROTOCOL", "SASL_SSL"),
        sasl_mechanism="OAUTHBEARER",
        sasl_oauth_token_provider=KeeperTokenProvider(keeper.source("oauth2")),
    )
    print(*sorted(consumer.topics()))
    consumer.close()
