"""The client middleware for aiohttp, against a real API that refuses tokens."""

import asyncio
import os

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tokenkeeper import (
    KeeperClosedError,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenWaitTimeoutError,
    UnknownProviderError,
)
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


async def said(request):
    """Return what the API said to a request."""
    async with request as answer:
        return await answer.json(content_type=None)


async def status(request):
    async with request as answer:
        return answer.status


def test_a_revoked_token(api, provider, in_session):
    """A 401 renews once and sends the request again."""

    async def body(session):
        async with session.get(api.url) as first:
            assert (await first.json(content_type=None))["token"] == "token-1"
        api.valid.clear()
        async with session.post(api.url + "/x", json={"a": 1}) as second:
            return await second.json(content_type=None)

    assert in_session(body) == {"path": "/x", "token": "token-2", "body": '{"a": 1}'}
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


def test_a_token_revoked_in_the_middle(api, provider, in_session):
    """While 200 tasks are at it the token is revoked: each goes on, with one renewal for all."""

    async def body(session):
        async def call():
            return [(await said(session.get(api.url)))["token"] for _ in range(3)]

        await said(session.get(api.url))
        api.revoke_at = 300
        return await asyncio.gather(*[call() for _ in range(200)])

    answers = in_session(body)
    assert {token for tokens in answers for token in tokens} == {"token-1", "token-2"}
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


@pytest.mark.parametrize("kind", ["file", "form"])
def test_a_body_that_can_be_rewound(api, in_session, tmp_path, kind):
    """A file is sent again from where it was, alone and in a form."""
    (tmp_path / "file").write_bytes(b"skipped whole")

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        with (tmp_path / "file").open("rb") as file:
            file.seek(8)
            data = file if kind == "file" else {"f": file}
            return (await said(session.put(api.url, data=data)))["body"]

    sent = in_session(body)
    assert "whole" in sent
    assert "skipped" not in sent


def test_a_refusal_in_the_middle_of_a_body(api, in_session, tmp_path):
    """A file that the server did not wait for is sent again whole."""
    big = b"0123456789abcdef" * 2**18
    (tmp_path / "file").write_bytes(big)

    async def body(session):
        api.faults = ["early"]
        with (tmp_path / "file").open("rb") as file:
            return await status(session.put(api.url, data=file))

    assert in_session(body) == 200
    assert api.seen[-1] == ("/", "token-2", big)


def test_a_websocket(keeper, provider):
    """A websocket is opened with the token, and with a new one where that was refused."""
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


def test_a_file_that_is_used_up(api, in_session):
    """What is read from a pipe is not sent again."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        reading, writing = os.pipe()
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(b"whole")
        with os.fdopen(reading, "rb") as pipe:
            return await status(session.put(api.url, data=pipe))

    assert in_session(body) == 401
    assert [body for *_, body in api.seen] == [b"", b"whole"]


def test_a_body_that_is_used_up_waits_for_nothing(api, provider, in_session):
    """Whose request can't be sent again is told at once, not when there is a new token."""

    async def stream():
        yield b"a"

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        provider.open.clear()
        assert await status(session.put(api.url, data=stream())) == 401
        provider.open.set()
        return await said(session.get(api.url))

    assert in_session(body)["token"] == "token-2"
    assert provider.minted == 2


def test_redirects_on_the_same_host(api, in_session):
    """The token goes along, and each request that is refused is sent again, and no other."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        assert (await said(session.get(api.url + "/to//end")))["token"] == "token-2"
        assert api.tokens[1:] == ["token-1", "token-1", "token-2"]
        api.valid.clear()
        assert (await said(session.post(api.url + "/then//end")))["token"] == "token-3"
        assert api.tokens[4:] == ["token-2", "token-3", "token-3"]
        api.once.add("token-3")
        api.valid.clear()
        assert (await said(session.post(api.url + "/then//end")))["token"] == "token-4"
        assert [path for path, *_ in api.seen[7:]] == ["/then//end", "/end", "/end"]

    in_session(body)


def test_a_redirect_there_and_back(api, elsewhere, in_session):
    """What comes back by a redirect goes where the token is for, and has it."""

    async def body(session):
        back = api.url + "/to/" + elsewhere.url + "/to/" + api.url + "/end"
        return await said(session.get(back))

    assert in_session(body)["token"] == "token-1"
    assert elsewhere.tokens == [None]


def test_a_redirect_to_somebody_else(api, elsewhere, provider, in_session):
    """Another port is another place: it gets no token, and renews nothing."""

    async def body(session):
        async with session.get(f"{api.url}/to/{elsewhere.url}/end") as answer:
            return answer.status

    assert in_session(body) == 401
    assert elsewhere.tokens == [None]
    assert provider.minted == 1


def test_a_connection_that_breaks(api, in_session):
    """What aiohttp raises comes through, and the next call works."""

    async def body(session):
        async with session.post(api.url):
            api.faults = ["drop"]
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(api.url)
        async with session.post(api.url) as answer:
            return answer.status

    assert in_session(body) == 200


def test_a_connection_that_breaks_before_the_second_request(api, provider, in_session):
    """The token is new all the same, and the caller may call again."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        api.faults = [None, "drop"]
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(api.url)
        return await said(session.post(api.url))

    assert in_session(body)["token"] == "token-2"
    assert api.tokens == ["token-1", "token-1", "token-2", "token-2"]
    assert provider.minted == 2


def test_answers_that_break_off(api, provider, in_session):
    """What is left of a refusal does no harm; that of an answer is the caller's to know."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        api.faults = ["cut"]
        assert (await said(session.get(api.url)))["token"] == "token-2"
        api.faults = ["cut"]
        with pytest.raises(aiohttp.ClientPayloadError):
            await said(session.get(api.url))
        return await said(session.get(api.url))

    assert in_session(body)["token"] == "token-2"
    assert provider.minted == 2


def test_streamed_answers(api, in_session):
    """A refused answer gives its connection back, however long it is; the caller's is whole."""
    api.refusal = b"no" * 2**20

    async def stream():
        yield b"a"

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        async with session.get(api.url) as answer:
            assert b"token-2" in await answer.content.read()
        api.valid.clear()
        async with session.put(api.url, data=stream()) as answer:
            assert (answer.status, len(await answer.read())) == (401, 2**21)
        return await said(session.get(api.url))

    assert in_session(body, limit=1)["token"] == "token-3"


@pytest.mark.parametrize("by_whom", ["the caller", "aiohttp"])
def test_a_task_that_is_cancelled_in_a_renewal(api, provider, in_session, by_whom):
    """It gives its connection back, and the renewal goes on for the others."""

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
    """``timeout=`` bounds the wait for a token."""
    keeper.get_token("api")
    api.valid.clear()
    provider.open.clear()

    async def body(session):
        with pytest.raises(TokenWaitTimeoutError):
            await session.get(api.url)

    in_session(body, timeout=0)
    provider.open.set()


def test_no_token(api, keeper, provider, in_session):
    """Where no token is to be had, the keeper's own error says why, and nothing is sent."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)

    async def body(session):
        for _ in range(2):  # asked, and told again during the cooldown
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
    """A refused token for which there is no new one ends in the keeper's error as well."""

    async def body(session):
        await said(session.get(api.url))
        api.valid.clear()
        provider.failure = TokenAcquisitionError("the server is down", transient=False)
        with pytest.raises(TokenRefreshError, match="the server is down"):
            await session.get(api.url)

    in_session(body)
