"""``grpc.aio`` calls with a keeper's token over real TLS, to a server that refuses some."""

import asyncio

import grpc
import grpc.aio
import pytest
from integrations.things import CHAT, GET, LIST, PUT, served, with_tokens_of

from tokenkeeper import TokenAcquisitionError
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
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    get, ask = channel.unary_unary(GET), channel.unary_stream(LIST)
    await get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    calls = [get(b"", timeout=GUARD_SECONDS) for _ in range(100)]
    streams = [everything(ask(b"a", timeout=GUARD_SECONDS)) for _ in range(100)]
    assert set(await asyncio.gather(*calls)) == {b"token-2"}
    assert await asyncio.gather(*streams) == [[b"token-2 a"]] * 100
    assert provider.minted == 2


@pytest.mark.parametrize("method", [GET, LIST])
async def test_a_token_revoked_in_the_middle(api, provider, channel, method):
    """While 200 tasks are at it the token is revoked: each goes on, with one renewal for all."""

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


async def unary(channel, **options):
    return await channel.unary_unary(GET)(b"", **options)


async def answers(channel, **options):
    return await everything(channel.unary_stream(LIST)(b"a", **options))


async def requests(channel, **options):
    return await channel.stream_unary(PUT)(iter([b"a"]), **options)


async def both(channel, **options):
    return await everything(channel.stream_stream(CHAT)(iter([b"a"]), **options))


every_kind = pytest.mark.parametrize("kind", [unary, answers, requests, both])
one_request = pytest.mark.parametrize("kind", [unary, answers])


@pytest.fixture
def ends(channel):
    """Make a call and return the error in which it ends."""

    async def ends(kind, timeout=GUARD_SECONDS, channel=channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await kind(channel, timeout=timeout)
        return raised.value

    return ends


@every_kind
async def test_no_token(api, keeper, provider, ends, kind):
    """A call for which there is no token ends as gRPC has it, and the details say why."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):  # asked, and told again during the cooldown
        error = await ends(kind)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "the server is down" in error.details()
    keeper.close()
    error = await ends(kind)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "closed" in error.details()
    assert provider.asked == 1
    assert api.seen == []


async def test_an_unknown_provider(keeper, things, ends):
    """The same goes for a name that nobody registered."""
    _, address, trusted = things
    async with grpc.aio.secure_channel(
        address,
        with_tokens_of(keeper, trusted, "other"),
        interceptors=renewing_interceptors(keeper, "other"),
    ) as channel:
        error = await ends(unary, channel=channel)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "'other'" in error.details()


@one_request
async def test_no_new_token(api, provider, channel, ends, kind):
    """A refused call for which there is no new token ends in the same way."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    error = await ends(kind)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "the server is down" in error.details()
    assert api.tokens == ["token-1", "token-1"]


@every_kind
async def test_a_deadline_before_the_first_token(api, provider, ends, kind):
    """A call ends when its time is over, though its token is still to come."""
    provider.shut()
    assert (await ends(kind, timeout=0.1)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert api.seen == []
    provider.open.set()


@one_request
async def test_a_deadline_in_a_renewal(api, provider, channel, ends, kind):
    """A call ends when its time is over, though the new token is still to come."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.shut()
    assert (await ends(kind, timeout=0.5)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    provider.open.set()
    await kind(channel, timeout=GUARD_SECONDS)
    assert provider.minted == 2


@one_request
async def test_what_a_call_was_made_with(api, provider, channel, things, kind):
    """The second try has the caller's metadata, and only the time that is left."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.takes = 0.3
    await kind(channel, timeout=9, metadata=(("x-mine", "1"),), wait_for_ready=True)
    (first, before), (second, after) = things[0].calls[1:]
    assert (first["x-mine"], second["x-mine"]) == ("1", "1")
    assert before - after > 0.2


@every_kind
async def test_a_call_that_is_cancelled(provider, channel, things, kind):
    """A call whose task is cancelled ends at the server too, and renews nothing."""
    things[0].open.clear()
    task = asyncio.create_task(kind(channel, timeout=GUARD_SECONDS))
    assert await asyncio.to_thread(things[0].called.wait, GUARD_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await asyncio.to_thread(things[0].ended.wait, GUARD_SECONDS)
    things[0].open.set()
    assert provider.minted == 1


@one_request
async def test_a_call_that_is_cancelled_in_a_renewal(api, provider, channel, kind):
    """A refused call that nobody wants any more is not made again; the renewal goes on."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.shut()
    task = asyncio.create_task(kind(channel, timeout=GUARD_SECONDS))
    assert await asyncio.to_thread(provider.asking.wait, GUARD_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    provider.open.set()
    await kind(channel, timeout=GUARD_SECONDS)
    assert api.tokens == ["token-1", "token-1", "token-2"]


async def test_a_crowd_with_many_requests(api, provider, channel, unwritten):
    """Of 50 streams that are refused none is begun again, and one renewal is for all."""
    chat = channel.stream_stream(CHAT)
    await everything(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    provider.shut()
    calls = [everything(chat(unwritten(), timeout=GUARD_SECONDS)) for _ in range(50)]
    # A task of its own for each: those that come late wait for the renewal.
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


@one_request
async def test_a_server_that_goes_away(provider, channel, things, ends, kind):
    """A lost connection is the caller's to know, and renews nothing."""
    await kind(channel, timeout=GUARD_SECONDS)
    things[0].server.stop(None).wait(GUARD_SECONDS)
    assert (await ends(kind)).code() is grpc.StatusCode.UNAVAILABLE
    assert provider.minted == 1
