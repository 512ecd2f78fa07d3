import asyncio
import os

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx2 import KeeperAuth

TIMEOUT = httpx2.Timeout(30, read=300)


async def main():
    with TokenKeeper.from_env() as keeper:
        auth = KeeperAuth(keeper.source("oauth2"))
        async with httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http:
            transport = streamable_http_client(os.environ["MCP_URL"], http_client=http)
            async with Client(transport) as client:
                found = await client.list_tools()
                print([tool.name for tool in found.tools])


asyncio.run(main())
