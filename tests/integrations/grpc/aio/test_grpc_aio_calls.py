"""``grpc.aio`` calls with a keeper's token over real TLS, to a server that refuses some."""

import asyncio

import grpc
import grpc.aio
import pytest
from integrations.grpc.server import CHAT, GET, GUARD_SECONDS, LIST, PUT, everything

pytestmark = pytest.mark.anyio


async def test_one_of_both(api, provider, channel):
    """A refused call renews the token once, and is made again."""
    get = channel.unary_unary(GET)
    assert await get(b"", timeout=GUARD_SECONDS) == b"token-1"
    api.valid.clear()
    assert await get(b"", timeout=GUARD_SECONDS) == b"token-2"
    assert provider.minted == 2


async def test_a_second_refusal(api, provider, channel):
    """The caller gets a second refusal."""
    provider.good = False
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError):
        await everything(channel.unary_stream(LIST)(b"a", timeout=GUARD_SECONDS))
    assert api.tokens == ["token-1", "token-2", "token-2", "token-3"]


async def test_a_crowd(api, provider, channel):
    """200 concurrent calls that are all refused succeed, with one renewal."""
    get, ask = channel.unary_unary(GET), channel.unary_stream(LIST)
    await get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    calls = [get(b"", timeout=GUARD_SECONDS) for _ in range(100)]
    streams = [everything(ask(b"a", timeout=GUARD_SECONDS)) for _ in range(100)]
    assert set(await asyncio.gather(*calls)) == {b"token-2"}
    assert await asyncio.gather(*streams) == [[b"token-2 a"]] * 100
    assert provider.minted == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", [GET, LIST])
async def test_a_token_revoked_in_the_middle(api, provider, channel, method):
    """A token is revoked while 200 tasks use it: all of them go on, with one renewal."""

    async def ask():
        if method is GET:
            return await channel.unary_unary(GET)(b"a", timeout=GUARD_SECONDS)
        (answer,) = await everything(channel.unary_stream(LIST)(b"a", timeout=GUARD_SECONDS))
        return answer.removesuffix(b" a")

    async def three():
        return [await ask() for _ in range(3)]

    await ask()
    api.revoke_at = 300
    answers = await asyncio.gather(*[three() for _ in range(200)])
    assert {token for tokens in answers for token in tokens} == {b"token-1", b"token-2"}
    assert provider.minted == 2


async def test_many_answers(api, provider, channel):
    """A call with many responses is made again, and its status is that of the second attempt."""
    ask = channel.unary_stream(LIST)
    assert await everything(ask(b"ab", timeout=GUARD_SECONDS)) == [b"token-1 a", b"token-1 b"]
    api.valid.clear()
    call = ask(b"ab", timeout=GUARD_SECONDS)
    assert await everything(call) == [b"token-2 a", b"token-2 b"]
    assert await call.code() is grpc.StatusCode.OK
    call = ask(b"ab", timeout=GUARD_SECONDS)
    assert [await call.read(), await call.read()] == [b"token-2 a", b"token-2 b"]
    assert await call.read() is grpc.aio.EOF
    assert provider.minted == 2


async def test_no_answers(channel):
    """A call with many responses may have none."""
    call = channel.unary_stream(LIST)(b"", timeout=GUARD_SECONDS)
    assert await everything(call) == []
    assert await call.code() is grpc.StatusCode.OK


async def test_refused_after_an_answer(api, provider, channel, things):
    """A call with a response is not made again, and the next call has a new token."""
    things[0].late = True
    ask = channel.unary_stream(LIST)
    await everything(ask(b"a", timeout=GUARD_SECONDS))
    api.valid.clear()
    call = ask(b"a", timeout=GUARD_SECONDS)
    assert await call.read() == b"first"
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()
    assert await everything(ask(b"a", timeout=GUARD_SECONDS)) == [b"first", b"token-2 a"]
    assert provider.minted == 2


async def test_many_requests(api, provider, channel, unwritten):
    """A refused stream of requests is not sent again, and the next call has the new token."""
    send = channel.stream_unary(PUT)

    async def put():
        call = send(timeout=GUARD_SECONDS)
        await call.write(b"a")
        await call.write(b"b")
        await call.done_writing()
        return await call

    assert await put() == b"token-1 ab"
    assert await send(iter([b"a", b"b"]), timeout=GUARD_SECONDS) == b"token-1 ab"
    api.valid.clear()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await send(unwritten(), timeout=GUARD_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    async with asyncio.timeout(GUARD_SECONDS):
        while provider.minted == 1:
            await asyncio.sleep(0)  # the refusal is handled in another task
    assert await put() == b"token-2 ab"
    assert provider.minted == 2


async def test_a_refusal_is_reported_before_the_renewal(api, provider, channel, unwritten):
    """A caller whose call can't be made again does not wait for the renewal."""
    chat = channel.stream_stream(CHAT)
    await everything(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    provider.open.clear()
    with pytest.raises(grpc.aio.AioRpcError):
        await everything(chat(unwritten(), timeout=GUARD_SECONDS))
    provider.open.set()
    await everything(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    assert provider.minted == 2


async def test_many_of_both(api, provider, channel, unwritten):
    """A refused stream in both directions is not started again; the next call has the new token."""
    chat = channel.stream_stream(CHAT)
    call = chat(timeout=GUARD_SECONDS)
    await call.write(b"a")
    assert await call.read() == b"token-1 a"
    await call.write(b"b")
    assert await call.read() == b"token-1 b"
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF
    api.valid.clear()
    with pytest.raises(grpc.aio.AioRpcError):
        await everything(chat(unwritten(), timeout=GUARD_SECONDS))
    assert await everything(chat(iter([b"a"]), timeout=GUARD_SECONDS)) == [b"token-2 a"]
    assert provider.minted == 2


async def test_a_crowd_with_many_requests(api, provider, channel, unwritten):
    """None of 50 refused streams is started again, and one renewal serves all."""
    chat = channel.stream_stream(CHAT)
    await everything(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    provider.shut()
    calls = [everything(chat(unwritten(), timeout=GUARD_SECONDS)) for _ in range(50)]
    # One task for each, because late ones wait for the renewal.
    tasks = [asyncio.create_task(call) for call in calls]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    provider.open.set()
    done, _ = await asyncio.wait(tasks, timeout=0)
    for task in done:
        assert task.exception().code() is grpc.StatusCode.UNAUTHENTICATED
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await everything(chat(iter([b"a"]), timeout=GUARD_SECONDS)) == [b"token-2 a"]
    assert provider.minted == 2
