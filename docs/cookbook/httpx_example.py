import asyncio
import os

import httpx

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx import KeeperAuth


async def fetch(auth):
    async with httpx.AsyncClient(auth=auth) as client:
        return await client.get(os.environ["API_URL"])


with TokenKeeper.from_env() as keeper:
    auth = KeeperAuth(keeper.source("oauth2"), timeout=20)
    with httpx.Client(auth=auth) as client:
        blocking = client.get(os.environ["API_URL"])
    answer = asyncio.run(fetch(auth))
    print(blocking.status_code, answer.status_code, answer.json()["path"])
