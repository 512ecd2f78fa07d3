"""Connect a pool to PostgreSQL with access tokens as passwords, on an event loop."""

import asyncio
import os

import asyncpg

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.asyncpg import connect_with


async def main(keeper):
    url = os.environ["DATABASE_URL"]  # for example postgresql://app@db.example.com/app
    connect = connect_with(keeper.source("oauth2"))
    async with asyncpg.create_pool(url, connect=connect, min_size=1) as pool:
        print("connected as", await pool.fetchval("SELECT current_user"))


with TokenKeeper.from_env() as keeper:
    asyncio.run(main(keeper))
