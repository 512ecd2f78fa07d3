"""``mcp``: what the official client does when the official server refuses a token."""

from contextlib import asynccontextmanager

import httpx2
import pytest
from kit.servers.mcp_server import mcp_server
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.httpx2 import KeeperAuth
from tokenkeeper.testing import LoopbackAuthorizationServer, SteppedClock

CROWD = 8
TIMEOUT = httpx2.Timeout(30, read=300)


@asynccontextmanager
async def connected(url, source, **options):
    async with (
        httpx2.AsyncClient(auth=KeeperAuth(source), timeout=TIMEOUT) as http,
        Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield client


async def add(client):
    result = await client.call_tool("add", {"a": 1, "b": 2})
    return result.structured_content["result"]


@pytest.mark.anyio
async def test_a_crowd_of_tasks(mcp, server, source, requests_of, crowd_of_tasks):
    """Tasks of one session whose token is revoked all go on, with one renewal."""
    url, _ = mcp
    async with connected(url, source) as client:
        assert await add(client) == 3
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, lambda: add(client)) == [3] * CROWD
        assert requests_of() == 2


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # under trio, the SDK's old mode leaks
async def test_the_old_protocol(mcp, server, source, requests_of, crowd_of_tasks, anyio_backend):
    """The same holds for the protocol with sessions, which keeps a stream open."""
    url, _ = mcp
    async with connected(url, source, mode="legacy") as client:
        assert await add(client) == 3
        server.revoke_all()
        assert await crowd_of_tasks(CROWD, lambda: add(client)) == [3] * CROWD
        assert requests_of() == 2


@pytest.mark.anyio
async def test_a_token_revoked_in_the_middle(mcp, source, requests_of, crowd_of_tasks):
    """Sessions whose token is revoked while they use it all go on, with one renewal."""
    url, verifier = mcp
    verifier.revoke_at = 20

    async def session():
        async with connected(url, source) as client:
            return [await add(client) for _ in range(3)]

    assert await crowd_of_tasks(CROWD, session) == [[3] * 3] * CROWD
    assert len(verifier.seen) > verifier.revoke_at
    assert requests_of() == 2


@pytest.fixture
def clock():
    """Return the clock of the keeper and of the authorization server in :func:`stepped`."""
    return SteppedClock()


@pytest.fixture
def stepped(clock):
    """Return the URL and the verifier of an MCP server, and a source, on the test's clock."""
    with (
        LoopbackAuthorizationServer(clock=clock) as server,
        TokenKeeper(clock=clock) as keeper,
        mcp_server(server) as (url, verifier),
    ):
        keeper.add_provider(server.provider("api"))
        yield url, verifier, keeper.source("api")


@pytest.mark.anyio
async def test_a_token_that_expires(stepped, clock):
    """A session outlives its first token: the next call has a new one, and is not refused."""
    url, verifier, source = stepped
    async with connected(url, source) as client:
        await add(client)
        clock.step(3600)
        assert await add(client) == 3
    assert len(set(verifier.seen)) == 2
    assert verifier.refused == []


@pytest.mark.anyio
async def test_an_outage(mcp, server, source):
    """While the token is valid, an outage of the authorization server changes nothing."""
    url, _ = mcp
    async with connected(url, source) as client:
        await add(client)
        with server.outage():
            assert await add(client) == 3


@pytest.mark.anyio
async def test_the_header_alone(mcp, server, source):
    """With the token in a header, all calls fail once it is revoked."""
    url, verifier = mcp
    async with (
        httpx2.AsyncClient(headers=source.headers("POST", url)) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        assert await add(client) == 3
        server.revoke_all()
        for _ in range(2):
            with pytest.raises(MCPError):
                await add(client)
    assert len(set(verifier.seen)) == 1


def test_the_example(mcp, run_example):
    """The page's program prints the server's tools."""
    url, _ = mcp
    assert run_example("mcp", MCP_URL=url) == "['add']\n"
