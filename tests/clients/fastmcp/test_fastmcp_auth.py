"""``fastmcp``: its client, signed in at the official server, by :class:`McpAuth`."""

import pytest
from fastmcp import Client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.mcp import McpAuth

CROWD = 8


@pytest.fixture
def auth(official, person):
    """Return an auth for the official server."""
    with TokenKeeper() as keeper:
        yield McpAuth(keeper, official.url, on_sign_in=person)


async def add(client):
    return (await client.call_tool("add", {"a": 1, "b": 2})).data.result


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_crowd_of_sessions(official, auth, person, crowd_of_tasks, anyio_backend):
    """Sessions that begin together make one registration and one sign-in."""

    async def session():
        async with Client(official.url, auth=auth) as client:
            return await add(client)

    assert await crowd_of_tasks(CROWD, session) == [3] * CROWD
    assert len(official.memory.registered) == len(person.urls) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_token_that_is_revoked(official, auth, person, crowd_of_tasks, anyio_backend):
    """A crowd whose token is revoked goes on, by one use of the refresh token."""
    async with Client(official.url, auth=auth) as client:
        assert await add(client) == 3
        official.memory.access_tokens.clear()
        assert await crowd_of_tasks(CROWD, lambda: add(client)) == [3] * CROWD
    assert len(person.urls) == 1
    assert next(official.memory.requests) == 2


def test_the_example(official, run_example, browser):
    """The page's program signs in once, and prints the server's tools each time."""
    for _ in range(2):
        printed = run_example("fastmcp_sign_in", MCP_URL=official.url, BROWSER=browser)
        assert printed == "['add', 'together']\n"
    assert len(official.memory.sign_ins) == len(official.memory.registered) == 1
