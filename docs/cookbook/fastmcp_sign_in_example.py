import asyncio
import os

from fastmcp import Client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.mcp import McpAuth

URL = os.environ["MCP_URL"]


async def main():
    with TokenKeeper(store="sqlite:///tokens.db") as keeper:
        auth = McpAuth(keeper, URL, client_name="Weather desk")
        await auth.connect_async()
        async with Client(URL, auth=auth) as client:
            print([tool.name for tool in await client.list_tools()])


asyncio.run(main())
