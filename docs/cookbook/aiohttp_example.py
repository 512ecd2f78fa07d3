import asyncio
import os
from urllib.parse import urlsplit

import aiohttp

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.aiohttp import KeeperMiddleware


async def fetch(source):
    url = os.environ["API_URL"]
    middleware = KeeperMiddleware(source, allowed_hosts=[urlsplit(url).netloc], timeout=20)
    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        session.get(url) as answer,
    ):
        print(answer.status, (await answer.json())["path"])


with TokenKeeper.from_env() as keeper:
    asyncio.run(fetch(keeper.source("oauth2")))
