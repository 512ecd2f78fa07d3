"""The cookbook's page on aiohttp."""

import asyncio

import aiohttp

from tokenkeeper.integrations.aiohttp import KeeperMiddleware


def test_the_example_runs(run_example, server):
    """The example calls the API."""
    assert run_example("aiohttp", API_URL=server.api_url) == "200 /api/things\n"


def test_a_crowd_recovers_with_one_renewal(server, source, crowd_of_tasks, requests_of):
    """Tasks whose token was revoked share one renewal, and each gets its answer."""

    async def main():
        async with aiohttp.ClientSession(middlewares=[KeeperMiddleware(source)]) as session:

            async def get():
                async with session.get(server.api_url) as answer:
                    return answer.status

            assert await crowd_of_tasks(8, get) == [200] * 8
            server.revoke_all()
            assert await crowd_of_tasks(8, get) == [200] * 8

    asyncio.run(main())
    assert requests_of() == 2
