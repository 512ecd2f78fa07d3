import asyncio
import os

import nats

from tokenkeeper import TokenKeeper


async def connect(source, **options):
    """Return a connection that renews a token which the server refuses."""
    sent = ""

    def token():
        nonlocal sent
        sent = source()
        return sent

    async def on_error(error):
        if "authorization violation" in str(error).lower():
            await source.aio.renew_refused(sent)

    await source.aio.get_token()  # the callable runs on the event loop, and should not wait
    return await nats.connect(os.environ["NATS_URL"], token=token, error_cb=on_error, **options)


async def main():
    with TokenKeeper.from_env() as keeper:
        connection = await connect(keeper.source("oauth2"))
        inbox = await connection.subscribe("orders")
        await connection.publish("orders", b"42 apples")
        print((await inbox.next_msg(timeout=10)).data.decode())
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main())
