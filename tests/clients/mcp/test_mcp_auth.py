"""``mcp``: the official client, signed in at the official server, by :class:`McpAuth`."""

import threading
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from kit.crowds import at_once, tasks_at_once
from kit.servers.mcp_official import TOGETHER, official_server
from mcp.client import Client
from mcp.client.streamable_http import streamable_http_client

from tokenkeeper import TokenKeeper
from tokenkeeper.integrations.mcp import McpAuth

CROWD = 8
TIMEOUT = httpx2.Timeout(30, read=300)


@pytest.fixture
def auth(official, person):
    """Return an auth for that server."""
    with TokenKeeper() as keeper:
        yield McpAuth(keeper, official.url, on_sign_in=person)


@asynccontextmanager
async def connected(auth, url, **options):
    async with (
        httpx2.AsyncClient(auth=auth, timeout=TIMEOUT, verify=False) as http,
        Client(streamable_http_client(url, http_client=http), **options) as client,
    ):
        yield client


async def add(client):
    result = await client.call_tool("add", {"a": 1, "b": 2})
    return result.structured_content["result"]


@pytest.mark.anyio
async def test_from_nothing_to_a_result(official, auth, person):
    """A client is registered and a person signs in, for the resource as the server spells it."""
    async with connected(auth, official.url) as client:
        assert await add(client) == 3
    (client,) = official.memory.registered
    assert client.scope == "user"
    (sign_in,) = official.memory.sign_ins
    assert sign_in.resource == official.url
    assert sign_in.scopes == ["user"]
    assert len(person.urls) == 1


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # under trio, the SDK's old mode leaks
async def test_the_old_protocol(official, auth, person, anyio_backend):
    """The same holds for the protocol with sessions, which keeps a stream open."""
    async with connected(auth, official.url, mode="legacy") as client:
        assert await add(client) == 3
    assert len(person.urls) == 1


@pytest.mark.anyio
async def test_a_crowd_of_sessions(official, auth, person, crowd_of_tasks):
    """Sessions that begin together make one registration and one sign-in."""

    async def session():
        async with connected(auth, official.url) as client:
            return await add(client)

    assert await crowd_of_tasks(CROWD, session) == [3] * CROWD
    assert len(official.memory.registered) == len(person.urls) == 1
    assert next(official.memory.requests) == 1


@pytest.mark.anyio
async def test_a_token_that_is_revoked(official, auth, person, crowd_of_tasks):
    """A crowd whose token is revoked goes on, by one use of the refresh token."""
    async with connected(auth, official.url) as client:
        assert await add(client) == 3
        official.memory.access_tokens.clear()
        assert await crowd_of_tasks(CROWD, lambda: add(client)) == [3] * CROWD
    assert len(person.urls) == 1
    assert next(official.memory.requests) == 2


@pytest.mark.anyio
async def test_calls_in_parallel(official, auth, crowd_of_tasks):
    """Calls at once take the time of one: here each returns only when all have arrived."""
    async with connected(auth, official.url) as client:
        await add(client)
        results = await crowd_of_tasks(TOGETHER, lambda: client.call_tool("together"))
    assert [each.structured_content for each in results] == [{"result": "done"}] * TOGETHER


def test_two_event_loops(official, auth, person):
    """One auth serves two event loops in two threads, and a blocking client beside them."""

    async def session():
        async with connected(auth, official.url) as client:
            return await add(client)

    found = at_once(
        lambda: tasks_at_once("asyncio", 3, session), lambda: tasks_at_once("trio", 3, session)
    )
    assert found == [[3] * 3] * 2
    assert len(official.memory.registered) == len(person.urls) == 1


def test_a_restart(official, person, tmp_path):
    """With a store, later processes register no client and open no browser."""

    async def session(auth):
        async with connected(auth, official.url) as client:
            return await add(client)

    for _ in range(3):
        with TokenKeeper(store=f"sqlite:///{tmp_path}/tokens.db") as keeper:
            auth = McpAuth(keeper, official.url, on_sign_in=person)
            assert anyio.run(session, auth) == 3
            official.memory.access_tokens.clear()
            assert anyio.run(session, auth) == 3
    assert len(official.memory.registered) == len(person.urls) == 1


@pytest.fixture
def demanding():
    """Return a server that demands two scopes."""
    with official_server(scopes=("user", "write")) as running:
        yield running


@pytest.mark.anyio
async def test_a_wider_scope(demanding, person, crowd_of_tasks):
    """A server that wants more than the first scope gets a sign-in for the union, once."""
    with TokenKeeper() as keeper:
        auth = McpAuth(keeper, demanding.url, on_sign_in=person, scope="user")

        async def session():
            async with connected(auth, demanding.url) as client:
                return await add(client)

        assert await crowd_of_tasks(CROWD, session) == [3] * CROWD
    assert [each.scopes for each in demanding.memory.sign_ins] == [["user"], ["user", "write"]]
    assert len(demanding.memory.registered) == 1


@pytest.mark.anyio
async def test_a_server_that_lost_its_memory(official, auth, person):
    """A server that was restarted with nothing in memory gets a new client and a new sign-in."""
    async with connected(auth, official.url) as client:
        assert await add(client) == 3
        memory = official.memory
        memory.registered.clear()
        memory.access_tokens.clear()
        memory.refresh_tokens.clear()
        assert await add(client) == 3
    assert len(person.urls) == 2


def test_nothing_runs_on(official, auth):
    """After the sign-in, no listener and no thread of it is left."""
    auth.connect()
    names = {each.name for each in threading.enumerate()}
    assert not {name for name in names if name.startswith(("tokenkeeper-sign", "tokenkeeper-mcp"))}


def test_the_example(official, run_example, browser):
    """The page's program signs in once, and prints the server's tools each time."""
    for _ in range(2):
        printed = run_example("mcp_sign_in", MCP_URL=official.url, BROWSER=browser)
        assert printed == "['add', 'together']\n"
    assert len(official.memory.sign_ins) == len(official.memory.registered) == 1
