import asyncio
import os

import aio_pika

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.aio_pika import connect_robust


async def main():
    source = keeper.source("oauth2")
    async with await connect_robust(source, os.environ["AMQP_URL"]) as connection:
        channel = await connection.channel()
        queue = await channel.declare_queue("", exclusive=True)
        await channel.default_exchange.publish(aio_pika.Message(b"hello"), queue.name)
        message = await queue.get(timeout=5)
        await message.ack()
        print("received", message.body.decode())


with TokenKeeper.from_env() as keeper:
    asyncio.run(main())
