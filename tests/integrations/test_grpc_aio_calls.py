"""``grpc.aio`` calls with a keeper's token over real TLS, to a server that refuses some."""

import asyncio

import grpc
import grpc.aio
import pytest
from integrations.things import CHAT, GET, LIST, PUT, served, with_tokens_of

from tokenkeeper.integrations.grpc_aio import renewing_interceptors

pytestmark = pytest.mark.anyio

GUARD_SECONDS = 30


@pytest.fixture
def anyio_backend():
    """Run under asyncio, the only loop that gRPC knows."""
    return "asyncio"


@pytest.fixture
def things(api):
    """Return the server's handler, its address and what a channel needs to trust it."""
    with served(api) as server:
        yield server


@pytest.fixture
async def channel(things, keeper):
    """Return a channel that has plugin and interceptors."""
    _, address, trusted = things
    async with grpc.aio.secure_channel(
        address,
        with_tokens_of(keeper, trusted),
        interceptors=renewing_interceptors(keeper, "api"),
    ) as channel:
        yield channel


async def everything(call):
    return [answer async for answer in call]


@pytest.fixture
async def unwritten():
    """Return requests of which none comes: gRPC may mistake a refusal while it writes one."""
    ended = asyncio.Event()

    async def requests():
        await ended.wait()
        for request in ():
            yield request

    yield requests
    ended.set()


async def test_one_of_both(api, provider, channel):
    """A call that is refused renews once, and is made again."""
    get = channel.unary_unary(GET)
    assert await get(b"", timeout=GUARD_SECONDS) == b"token-1"
    api.valid.clear()
    assert await get(b"", timeout=GUARD_SECONDS) == b"token-2"
    assert provider.minted == 2


async def test_a_second_refusal(api, provider, channel):
    """A second refusal is the caller's."""
    provider.good = False
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(grpc.aio.AioRpcError):
        await everything(channel.unary_stream(LIST)(b"a", timeout=GUARD_SECONDS))
    assert api.tokens == ["token-1", "token-2", "token-2", "token-3"]


async def test_a_crowd(api, provider, channel):
    """Of 50 calls at once, all refused, each succeeds, with one renewal for all."""
    get, ask = channel.unary_unary(GET), channel.unary_stream(LIST)
    await get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    calls = [get(b"", timeout=GUARD_SECONDS) for _ in range(25)]
    streams = [everything(ask(b"a", timeout=GUARD_SECONDS)) for _ in range(25)]
    assert set(await asyncio.gather(*calls)) == {b"token-2"}
    assert await asyncio.gather(*streams) == [[b"token-2 a"]] * 25
    assert provider.minted == 2


async def test_many_answers(api, provider, channel):
    """A call with many answers is made again, and its status is that of the call that counts."""
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


async def test_another_failure(api, provider, channel, things):
    """A call that fails for another reason is not made again, and renews nothing."""
    things[0].refusal = grpc.StatusCode.PERMISSION_DENIED
    provider.good = False
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await everything(channel.unary_stream(LIST)(b"a", timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
    assert api.tokens == ["token-1", "token-1"]


async def test_no_answers(channel):
    """A call with many answers may have none."""
    call = channel.unary_stream(LIST)(b"", timeout=GUARD_SECONDS)
    assert await everything(call) == []
    assert await call.code() is grpc.StatusCode.OK


async def test_refused_after_an_answer(api, provider, channel, things):
    """A call of which an answer has come is not made again, and the next one has a new token."""
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
            await asyncio.sleep(0)  # the refusal is seen beside its caller
    assert await put() == b"token-2 ab"
    assert provider.minted == 2


async def test_a_refusal_is_told_before_the_renewal(api, provider, channel, unwritten):
    """Whose call can't be made again need not wait until there is a new token."""
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
    """A refused stream of requests and answers is not begun again; the next has the new token."""
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
