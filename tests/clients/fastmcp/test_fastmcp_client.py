"""``fastmcp``: what its client does when a server refuses a token."""

import pytest
from fastmcp import Client

from tokenkeeper.integrations.httpx2 import KeeperAuth

CROWD = 8


async def add(client):
    return (await client.call_tool("add", {"a": 1, "b": 2})).data.result


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_crowd_of_tasks(mcp, server, source, requests_of, crowd_of_tasks, anyio_backend):
    """Tasks of one session whose token is revoked all go on, with one renewal."""
    url, _ = mcp
    async with Client(url, auth=KeeperAuth(source)) as client:
        assert await add(client) == 3
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, lambda: add(client)) == [3] * CROWD
    assert requests_of() == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_token_revoked_in_the_middle(
    mcp, source, requests_of, crowd_of_tasks, anyio_backend
):
    """Sessions whose token is revoked while they use it all go on, with one renewal."""
    url, verifier = mcp
    verifier.revoke_at = 20

    async def session():
        async with Client(url, auth=KeeperAuth(source)) as client:
            return [await add(client) for _ in range(3)]

    assert await crowd_of_tasks(CROWD, session) == [[3] * 3] * CROWD
    assert len(verifier.seen) > verifier.revoke_at
    assert requests_of() == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_token_as_text(mcp, server, source, requests_of, anyio_backend):
    """With the token itself as ``auth``, all calls fail once it is revoked."""
    url, _ = mcp
    async with Client(url, auth=source()) as client:
        assert await add(client) == 3
        server.revoke_all()
        for _ in range(2):
            with pytest.raises(Exception, match="error response"):
                await add(client)
    assert requests_of() == 1


def test_the_example(mcp, run_example):
    """The page's program prints the server's tools."""
    url, _ = mcp
    assert run_example("fastmcp", MCP_URL=url) == "['add']\n"
