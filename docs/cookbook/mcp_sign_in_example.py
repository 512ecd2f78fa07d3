import asyncio
import os

import httpx2
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.mcp import McpAuth

URL = os.environ["MCP_URL"]
TIMEOUT = httpx2.Timeout(30, read=300)


async def main():
    with TokenKeeper(store="sqlite:///tokens.db") as keeper:
        auth = McpAuth(keeper, URL, client_name="Weather desk")
        await auth.connect_async()
        async with (
            httpx2.AsyncClient(auth=auth, timeout=TIMEOUT) as http,
            Client(streamable_http_client(URL, http_client=http)) as client,
        ):
            found = await client.list_tools()
            print([tool.name for tool in found.tools])


asyncio.run(main())
