import asyncio
import os

from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tokenkeeper import TokenKeeper


class Authenticated(connect):
    """Connects with the current token, each time; a rejected one is renewed once."""

    def __init__(self, uri, source, **options):
        super().__init__(uri, **options)
        self.tokens = source.aio

    async def __aenter__(self):
        token = await self.tokens.get_token()
        try:
            return await self.connect_with(token)
        except InvalidStatus as error:
            if error.response.status_code != 401:
                raise
        return await self.connect_with(await self.tokens.renew_refused(token))

    async def connect_with(self, token):
        self.additional_headers = {"Authorization": f"Bearer {token}"}
        return await super().__aenter__()


async def main(source):
    async with Authenticated(os.environ["WEBSOCKET_URL"], source) as socket:
        await socket.send("hello")
        print(await socket.recv())


if __name__ == "__main__":
    with TokenKeeper.from_env() as keeper:
        asyncio.run(main(keeper.source("oauth2")))
