"""gRPC calls by ``future()``, which do not block, and may be cancelled at any time."""

import threading
from types import SimpleNamespace

import grpc
import pytest
from integrations.grpc.server import GET, GUARD_SECONDS, LIST, with_tokens_of

from tokenkeeper.integrations import _grpc_future
from tokenkeeper.integrations.grpc import RenewingInterceptor


def test_a_future(api, provider, channel):
    """A call by ``future()`` does not block, and reports the attempt that counts."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.shut()
    called, done = [], threading.Event()
    future = get.future(b"", timeout=GUARD_SECONDS)
    future.add_done_callback(called.append)
    assert future.add_callback(done.set)
    with pytest.raises(grpc.FutureTimeoutError):
        future.result(0)
    assert (future.done(), future.running(), future.is_active()) == (False, True, True)
    provider.open.set()
    assert done.wait(GUARD_SECONDS)
    assert called == [future]
    assert (future.done(), future.running(), future.is_active()) == (True, False, False)
    assert future.result() == b"token-2"
    assert (future.exception(), future.traceback()) == (None, None)
    assert (future.code(), future.details()) == (grpc.StatusCode.OK, "")
    assert ("x-token", "token-2") in future.initial_metadata()
    assert future.trailing_metadata() is not None
    assert future.time_remaining() <= GUARD_SECONDS
    assert (future.cancel(), future.cancelled()) == (False, False)
    future.add_done_callback(called.append)
    assert called == [future, future]
    assert not future.add_callback(done.clear)


def test_a_future_refused_before_it_was_handed_over(api, keeper, provider, without_renewal):
    """A call by ``future()`` does not block either if it is refused at once."""
    keeper.get_token("api")
    api.valid.clear()
    provider.shut()

    def continuation(details, request):
        call = without_renewal.unary_unary(GET).future(request, timeout=GUARD_SECONDS)
        call.exception(GUARD_SECONDS)
        return call

    interceptor = RenewingInterceptor(keeper, "api")
    future = interceptor.intercept_unary_unary(continuation, SimpleNamespace(), b"")
    assert not future.done()
    provider.open.set()
    assert future.result(GUARD_SECONDS) == b"token-2"


@pytest.mark.parametrize("kind", ["future", "answers"])
def test_a_call_cancelled_as_it_is_made_again(api, keeper, things, without_renewal, kind):
    """A call that is cancelled at the last moment ends at once."""
    keeper.get_token("api")
    api.valid.clear()
    interceptor, made, twice = RenewingInterceptor(keeper, "api"), [], threading.Event()
    by_future = without_renewal.unary_unary(GET).future
    make = by_future if kind == "future" else without_renewal.unary_stream(LIST)

    def continuation(details, request):
        if made:  # the second time
            things[0].open.clear()  # so that it is cancelled before it is answered
            call.cancel()
        made.append(make(request, timeout=GUARD_SECONDS))
        if len(made) == 2:
            twice.set()
        return made[-1]

    if kind == "future":
        call = interceptor.intercept_unary_unary(continuation, SimpleNamespace(), b"a")
        with pytest.raises(grpc.FutureCancelledError):
            call.result(GUARD_SECONDS)
    else:
        call = interceptor.intercept_unary_stream(continuation, SimpleNamespace(), b"a")
        with pytest.raises(grpc.RpcError):
            next(call)
    assert twice.wait(GUARD_SECONDS)
    with pytest.raises((grpc.FutureCancelledError, grpc.RpcError)):
        made[1].result(GUARD_SECONDS)
    assert made[1].cancelled()
    things[0].open.set()


def test_a_crowd_of_futures(api, provider, channel):
    """200 concurrent calls that are all refused succeed, with one renewal."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    futures = [get.future(b"", timeout=GUARD_SECONDS) for _ in range(200)]
    assert {future.result(GUARD_SECONDS) for future in futures} == {b"token-2"}
    assert provider.minted == 2


def test_a_future_refused_twice(api, provider, channel):
    """The caller gets a second refusal."""
    provider.good = False
    future = channel.unary_unary(GET).future(b"", timeout=GUARD_SECONDS)
    assert future.exception(GUARD_SECONDS).code() is grpc.StatusCode.UNAUTHENTICATED
    assert future.code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-2"]


def test_a_future_cancelled_at_once(api, provider, channel, things):
    """A call that is cancelled ends at the server too, and is not made again."""
    things[0].open.clear()
    future = channel.unary_unary(GET).future(b"", timeout=GUARD_SECONDS)
    assert things[0].called.wait(GUARD_SECONDS)
    assert future.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        future.result(GUARD_SECONDS)
    assert things[0].ended.wait(GUARD_SECONDS)
    assert future.cancelled()
    assert future.code() is grpc.StatusCode.CANCELLED
    things[0].open.set()
    assert provider.minted == 1


def test_a_future_cancelled_in_a_renewal(api, keeper, provider, channel):
    """A refused call that was cancelled is not made again."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.shut()
    future = get.future(b"", timeout=GUARD_SECONDS)
    assert provider.asking.wait(GUARD_SECONDS)
    assert future.cancel()
    for look in (future.result, future.exception, future.traceback):
        with pytest.raises(grpc.FutureCancelledError):
            look()
    assert future.cancelled()
    assert future.code() is grpc.StatusCode.CANCELLED
    assert "cancelled" in future.details()
    provider.open.set()
    assert get(b"", timeout=GUARD_SECONDS) == b"token-2"
    assert api.tokens == ["token-1", "token-1", "token-2"]


def test_a_future_of_a_channel_that_is_closed(api, keeper, provider, things):
    """A call that can't be made again ends with its refusal."""
    _, address, trusted = things
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:
        renewing = grpc.intercept_channel(channel, RenewingInterceptor(keeper, "api"))
        get = renewing.unary_unary(GET)
        get(b"", timeout=GUARD_SECONDS)
        api.valid.clear()
        provider.shut()
        future = get.future(b"", timeout=GUARD_SECONDS)
        assert provider.asking.wait(GUARD_SECONDS)
    provider.open.set()
    assert future.exception(GUARD_SECONDS).code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_future_without_a_thread(api, channel, monkeypatch):
    """If no thread can be started, the caller gets the refusal."""

    def no_thread(**options):
        raise RuntimeError("can't start new thread")

    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    monkeypatch.setattr(
        _grpc_future,
        "threading",
        SimpleNamespace(Thread=no_thread, Event=threading.Event, Lock=threading.Lock),
    )
    future = get.future(b"", timeout=GUARD_SECONDS)
    assert future.exception(GUARD_SECONDS).code() is grpc.StatusCode.UNAUTHENTICATED
