import asyncio
import os

from fastmcp import Client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx2 import KeeperAuth


async def main():
    with TokenKeeper.from_env() as keeper:
        auth = KeeperAuth(keeper.source("oauth2"))
        async with Client(os.environ["MCP_URL"], auth=auth) as client:
            print([tool.name for tool in await client.list_tools()])


asyncio.run(main())
