"""The client middleware for aiohttp, against a real API that refuses tokens."""

import asyncio

import aiohttp
import pytest

from tokenkeeper.integrations.aiohttp import KeeperMiddleware

HERE = ["127.0.0.1"]


@pytest.fixture
def in_session(keeper):
    """Run a test's body with a session whose requests to *hosts* carry the token."""

    def in_session(body, hosts=HERE):
        async def main():
            middleware = KeeperMiddleware(keeper, "api", allowed_hosts=hosts)
            connector = aiohttp.TCPConnector(limit=0)
            timeout = aiohttp.ClientTimeout(total=30)
            async with aiohttp.ClientSession(
                middlewares=[middleware], connector=connector, timeout=timeout
            ) as session:
                return await body(session)

        return asyncio.run(main())

    return in_session


def test_a_revoked_token(api, provider, in_session):
    """A 401 renews once and sends the request again."""

    async def body(session):
        async with session.get(api.url) as first:
            assert (await first.json(content_type=None))["token"] == "token-1"
        api.valid.clear()
        async with session.post(api.url + "/x", json={"a": 1}) as second:
            return await second.json(content_type=None)

    said = {"path": "/x", "token": "token-2", "body": '{"a": 1}'}
    assert in_session(body) == said
    assert provider.minted == 2


def test_a_second_refusal(api, provider, in_session):
    """The second 401 is the caller's."""
    provider.good = False

    async def body(session):
        async with session.get(api.url) as answer:
            return answer.status

    assert in_session(body) == 401
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd_of_tasks(api, provider, in_session):
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""

    async def body(session):
        async def call():
            async with session.get(api.url) as answer:
                return (await answer.json(content_type=None))["token"]

        await call()
        api.valid.clear()
        return await asyncio.gather(*[call() for _ in range(200)])

    assert set(in_session(body)) == {"token-2"}
    assert provider.minted == 2


def test_a_body_that_is_used_up(api, in_session):
    """An async generator is not sent again: the caller gets the 401, and the next call a token."""

    async def stream():
        yield b"a"
        yield b"b"

    async def body(session):
        async with session.get(api.url):
            api.valid.clear()
        async with session.put(api.url, data=stream()) as first:
            assert first.status == 401
        async with session.put(api.url, data=stream()) as second:
            return (await second.json(content_type=None))["body"]

    assert in_session(body) == "ab"


def test_a_redirect_to_somebody_else(api, elsewhere, provider, in_session):
    """A host that is not allowed gets no token, and renews nothing."""

    async def body(session):
        url = elsewhere.url.replace("127.0.0.1", "localhost")
        async with session.get(f"{api.url}/to/{url}/end") as answer:
            return answer.status

    assert in_session(body) == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1


def test_a_connection_that_breaks(api, in_session):
    """What aiohttp raises comes through, and the next call works."""

    async def body(session):
        async with session.post(api.url):
            api.drops = 1
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(api.url)
        async with session.post(api.url) as answer:
            return answer.status

    assert in_session(body) == 200
