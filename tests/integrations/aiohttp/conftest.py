"""A session of aiohttp whose requests to the API carry the token."""

import asyncio

import aiohttp
import pytest

from tokenkeeper.integrations.aiohttp import KeeperMiddleware


@pytest.fixture
def in_session(api, keeper):
    """Run a test's body with a session whose requests to the API carry the token."""

    def in_session(body, limit=0, **options):
        async def main():
            middleware = KeeperMiddleware(keeper, "api", allowed_hosts=[api.place], **options)
            connector = aiohttp.TCPConnector(limit=limit)
            timeout = aiohttp.ClientTimeout(total=30)
            async with aiohttp.ClientSession(
                middlewares=[middleware], connector=connector, timeout=timeout
            ) as session:
                return await body(session)

        return asyncio.run(main())

    return in_session
