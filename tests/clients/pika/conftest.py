"""pika connects to RabbitMQ."""

from clients.on_rabbitmq import (  # noqa: F401
    broker,
    rejected_first,
    server,
    short_token,
    wait_for_expiry,
)
