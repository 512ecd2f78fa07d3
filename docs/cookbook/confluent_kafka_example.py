import os

from confluent_kafka.admin import AdminClient

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.confluent_kafka import configuration

with TokenKeeper.from_env() as keeper:
    client = AdminClient(
        {
            "bootstrap.servers": os.environ["KAFKA_BROKERS"],
            "security.protocol": os.environ.get("KAFKA_PROTOCOL", "SASL_SSL"),
            **configuration(keeper.source("oauth2")),
        }
    )
    print(*sorted(client.list_topics(timeout=10).topics))
