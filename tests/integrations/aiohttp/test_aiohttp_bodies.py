"""Which bodies aiohttp sends again, responses, and broken connections."""

import os

import aiohttp
import pytest
from integrations.aiohttp.answers import said, status


def test_a_body_that_is_used_up(api, in_session):
    """An async generator is not sent again: the caller gets the 401, the next call a new token."""

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
    """A file is sent again from its position, alone and in a form."""
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
    """A file that the server did not wait for is sent again completely."""
    big = b"0123456789abcdef" * 2**18
    (tmp_path / "file").write_bytes(big)

    async def body(session):
        api.faults = ["early"]
        with (tmp_path / "file").open("rb") as file:
            return await status(session.put(api.url, data=file))

    assert in_session(body) == 200
    assert ("/", "token-2", big) in api.seen  # the refused one may be read completely later


def test_a_file_that_is_used_up(api, in_session):
    """Data from a pipe is not sent again."""

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
    """A caller whose request can't be sent again gets the 401 without waiting for the renewal."""

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


def test_streamed_answers(api, in_session):
    """A refused response of any length frees its connection; the caller gets a complete one."""
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


def test_a_connection_that_breaks(api, in_session):
    """Errors of aiohttp reach the caller, and the next call works."""

    async def body(session):
        async with session.post(api.url):
            api.faults = ["drop"]
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.post(api.url)
        async with session.post(api.url) as answer:
            return answer.status

    assert in_session(body) == 200


def test_a_connection_that_breaks_before_the_second_request(api, provider, in_session):
    """The token is renewed all the same, and the next call works."""

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
    """A refusal that breaks off does no harm; a response that breaks off is the caller's error."""

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
