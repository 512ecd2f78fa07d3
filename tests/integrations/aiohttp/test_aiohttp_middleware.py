"""The client middleware for aiohttp, against a real API that refuses tokens."""

import asyncio

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from integrations.aiohttp.answers import said, status

from tokenkeeper import (
    KeeperClosedError,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)
from tokenkeeper.integrations.aiohttp import KeeperMiddleware


def test_a_revoked_token(api, provider, in_session):
    """A 401 renews the token and sends the request again."""

    async def body(session):
        async with session.get(api.url) as first:
            assert (await first.json(content_type=None))["token"] == "token-1"
        api.valid.clear()
        async with session.post(api.url + "/x", json={"a": 1}) as second:
            return await second.json(content_type=None)

    assert in_session(body) == {"path": "/x", "token": "token-2", "body": '{"a": 1}'}
    assert provider.minted == 2


def test_a_second_refusal(api, provider, in_session):
    """The caller gets a second 401."""
    provider.good = False

    async def body(session):
        async with session.get(api.url) as answer:
            return answer.status

    assert in_session(body) == 401
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd_of_tasks(api, provider, in_session):
    """200 concurrent calls that are all refused succeed, with one renewal."""

    async def body(session):
        async def call():
            async with session.get(api.url) as answer:
                return (await answer.json(content_type=None))["token"]

        await call()
        api.valid.clear()
        return await asyncio.gather(*[call() for _ in range(200)])

    assert set(in_session(body)) == {"token-2"}
    assert provider.minted == 2


def test_a_token_revoked_in_the_middle(api, provider, in_session):
    """A token is revoked while 200 tasks use it: all of them go on, with one renewal."""

    async def body(session):
        async def call():
            return [(await said(session.get(api.url)))["token"] for _ in range(3)]

        await said(session.get(api.url))
        api.revoke_at = 300
        return await asyncio.gather(*[call() for _ in range(200)])

    answers = in_session(body)
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
    assert provider.minted == 2


def test_a_websocket(keeper, provider):
    """A websocket is opened with the token, or with a new one if that is refused."""
    valid, seen = set(), []

    async def serve(request):
        seen.append(request.headers["Authorization"].removeprefix("Bearer "))
        if seen[-1] not in valid:
            raise web.HTTPUnauthorized
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str("hello")
        await socket.close()
        return socket

    async def main():
        app = web.Application()
        app.router.add_get("/", serve)
        async with TestServer(app) as server:
            middleware = KeeperMiddleware(keeper, "api", allowed_hosts=[f"127.0.0.1:{server.port}"])
            valid.add("token-2")
            async with (
                aiohttp.ClientSession(middlewares=[middleware]) as session,
                session.ws_connect(f"ws://127.0.0.1:{server.port}/") as socket,
            ):
                return await socket.receive_str()

    assert asyncio.run(main()) == "hello"
    assert seen == ["token-1", "token-2"]


@pytest.mark.parametrize("by_whom", ["the caller", "aiohttp"])
def test_a_task_that_is_cancelled_in_a_renewal(api, provider, in_session, by_whom):
    """A cancelled task frees its connection, and the renewal goes on for the others."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        provider.open.clear()
        timeout = aiohttp.ClientTimeout(total=0.05 if by_whom == "aiohttp" else 30)
        task = asyncio.create_task(status(session.get(api.url, timeout=timeout)))
        async with asyncio.timeout(30):
            while provider.asked == 1 and not task.done():
                await asyncio.sleep(0)
        if by_whom == "the caller":
            task.cancel()
        with pytest.raises((asyncio.CancelledError, TimeoutError)):
            await task
        provider.open.set()
        return await said(session.get(api.url))

    assert in_session(body, limit=1)["token"] == "token-2"
    assert provider.minted == 2


def test_a_timeout_in_a_renewal(api, keeper, provider, in_session):
    """``timeout=`` limits the wait for a token."""
    keeper.get_token("api")
    api.valid.clear()
    provider.open.clear()

    async def body(session):
        with pytest.raises(TokenWaitTimeoutError):
            await session.get(api.url)

    in_session(body, timeout=0)
    provider.open.set()


def test_no_token(api, keeper, provider, in_session):
    """Without a token, the keeper's own error is raised, and nothing is sent."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)

    async def body(session):
        for _ in range(2):  # a request, and then the cooldown
            with pytest.raises(TokenAcquisitionError, match="the server is down"):
                await session.get(api.url)
        other = KeeperMiddleware(keeper, "other", allowed_hosts=[api.place])
        with pytest.raises(UnknownProviderError, match="'other'"):
            await session.get(api.url, middlewares=[other])
        keeper.close()
        with pytest.raises(KeeperClosedError):
            await session.get(api.url)

    in_session(body)
    assert provider.asked == 1
    assert api.seen == []


def test_no_new_token(api, provider, in_session):
    """If a refused token can't be renewed, the keeper's own error is raised too."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        provider.failure = TokenAcquisitionError("the server is down", transient=False)
        with pytest.raises(TokenRefreshError, match="the server is down"):
            await session.get(api.url)

    in_session(body)
