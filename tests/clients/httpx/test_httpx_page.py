"""The cookbook's page on httpx."""

import asyncio

import httpx

from tokenkeeper.integrations.httpx import KeeperAuth


def test_the_example_runs(run_example, server):
    """The example calls the API with both kinds of clients."""
    assert run_example("httpx", API_URL=server.api_url) == "200 200 /api/things\n"


def test_a_crowd_of_threads_recovers_with_one_renewal(server, source, crowd, requests_of):
    """Threads whose token was revoked share one renewal, and each gets its answer."""
    with httpx.Client(auth=KeeperAuth(source), trust_env=False) as client:

        def get():
            return client.get(server.api_url).status_code

        assert crowd(8, get) == [200] * 8
        server.revoke_all()
        assert crowd(8, get) == [200] * 8
    assert requests_of() == 2


def test_a_crowd_of_tasks_recovers_with_one_renewal(server, source, crowd_of_tasks, requests_of):
    """Tasks whose token was revoked share one renewal, and each gets its answer."""

    async def main():
        async with httpx.AsyncClient(auth=KeeperAuth(source), trust_env=False) as client:

            async def get():
                return (await client.get(server.api_url)).status_code

            assert await crowd_of_tasks(8, get) == [200] * 8
            server.revoke_all()
            assert await crowd_of_tasks(8, get) == [200] * 8

    asyncio.run(main())
    assert requests_of() == 2
