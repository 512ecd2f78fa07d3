"""How ``grpc.aio`` calls of each kind end: by timeout, by cancellation, without a token."""

import asyncio

import grpc
import grpc.aio
import pytest
from integrations.grpc.server import CHAT, GET, GUARD_SECONDS, LIST, PUT, everything, with_tokens_of

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations.grpc import KeeperPlugin
from tokenkeeper.integrations.grpc_aio import renewing_interceptors

pytestmark = pytest.mark.anyio


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
    """Make a call and return the error that it ends with."""

    async def ends(kind, timeout=GUARD_SECONDS, channel=channel):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await kind(channel, timeout=timeout)
        return raised.value

    return ends


@every_kind
async def test_no_token(api, keeper, provider, ends, kind):
    """A call without a token ends with gRPC's own error, and its details explain why."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):  # a request, and then the cooldown
        error = await ends(kind)
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "the server is down" in error.details()
    keeper.close()
    error = await ends(kind)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "closed" in error.details()
    assert provider.asked == 1
    assert api.seen == []


@every_kind
@pytest.mark.skipif(
    tuple(map(int, grpc.__version__.split(".")[:2])) < (1, 80),
    reason="before grpcio 1.80 such a call may raise once more when it is collected",
)
async def test_a_channel_without_tls(things, keeper, kind):
    """No token goes over an insecure channel: gRPC refuses the call before it is sent."""
    plugin = grpc.metadata_call_credentials(KeeperPlugin(keeper, "api"))
    async with grpc.aio.insecure_channel(
        things[0].plain, interceptors=renewing_interceptors(keeper, "api")
    ) as channel:
        with pytest.raises(grpc.aio.UsageError, match="only valid on secure channels"):
            await kind(channel, timeout=GUARD_SECONDS, credentials=plugin)
    assert things[0].calls == []


async def test_an_unknown_provider(keeper, things, ends):
    """The same goes for an unknown provider name."""
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
    """A refused call that gets no new token ends in the same way."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    error = await ends(kind)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "the server is down" in error.details()
    assert api.tokens == ["token-1", "token-1"]


@every_kind
async def test_a_deadline_before_the_first_token(api, provider, ends, kind):
    """A call ends at its deadline, even if it still waits for its first token."""
    provider.shut()
    assert (await ends(kind, timeout=0.1)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert api.seen == []
    provider.open.set()


@one_request
async def test_a_deadline_in_a_renewal(api, provider, channel, ends, kind):
    """A call ends at its deadline, even if it still waits for a renewal."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.shut()
    assert (await ends(kind, timeout=0.5)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    provider.open.set()
    await kind(channel, timeout=GUARD_SECONDS)
    assert provider.minted == 2


@one_request
async def test_the_options_of_the_second_attempt(api, provider, channel, things, kind):
    """The second attempt has the caller's metadata, and only the remaining time."""
    await kind(channel, timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.takes = 0.3
    await kind(channel, timeout=9, metadata=(("x-mine", "1"),), wait_for_ready=True)
    (first, before), (second, after) = things[0].calls[1:]
    assert (first["x-mine"], second["x-mine"]) == ("1", "1")
    assert before - after > 0.2


@every_kind
async def test_a_call_that_is_cancelled(provider, channel, things, kind):
    """A call whose task is cancelled ends at the server too, and nothing is renewed."""
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
    """A refused call that was cancelled is not made again; the renewal goes on."""
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


async def test_another_failure(api, provider, channel, things):
    """A call that fails for another reason is not made again, and nothing is renewed."""
    things[0].refusal = grpc.StatusCode.PERMISSION_DENIED
    provider.good = False
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await everything(channel.unary_stream(LIST)(b"a", timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.aio.AioRpcError):
        await channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
    assert api.tokens == ["token-1", "token-1"]


@one_request
async def test_a_server_that_goes_away(provider, channel, things, ends, kind):
    """A lost connection is reported to the caller, and nothing is renewed."""
    await kind(channel, timeout=GUARD_SECONDS)
    things[0].server.stop(None).wait(GUARD_SECONDS)
    assert (await ends(kind)).code() is grpc.StatusCode.UNAVAILABLE
    assert provider.minted == 1
