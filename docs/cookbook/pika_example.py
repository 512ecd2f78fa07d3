import os

import pika

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.pika import connect

keeper = TokenKeeper.from_env()
source = keeper.source("oauth2")

with connect(source, pika.URLParameters(os.environ["AMQP_URL"])) as connection:
    channel = connection.channel()
    queue = channel.queue_declare("", exclusive=True).method.queue
    channel.basic_publish("", queue, b"hello")
    for _, _, body in channel.consume(queue, auto_ack=True):
        print("received", body.decode())
        break
    channel.cancel()

keeper.close()
