"""Blocking gRPC calls with many responses, many requests, or many of both."""

import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from integrations.grpc.server import CHAT, GUARD_SECONDS, LIST, PUT


def test_many_answers(api, provider, channel):
    """A call with many responses is made again, and its status is that of the second attempt."""
    ask = channel.unary_stream(LIST)
    assert list(ask(b"ab", timeout=GUARD_SECONDS)) == [b"token-1 a", b"token-1 b"]
    api.valid.clear()
    call = ask(b"ab", timeout=GUARD_SECONDS)
    assert list(call) == [b"token-2 a", b"token-2 b"]
    assert call.code() is grpc.StatusCode.OK
    assert provider.minted == 2


def test_many_answers_refused_twice(api, provider, channel):
    """The caller of a call with many responses gets a second refusal."""
    provider.good = False
    with pytest.raises(grpc.RpcError) as raised:
        list(channel.unary_stream(LIST)(b"ab", timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-2"]


def test_refused_after_an_answer(api, keeper, provider, channel, things):
    """A call with a response is not made again, and the next call has a new token."""
    things[0].late = True
    ask = channel.unary_stream(LIST)
    list(ask(b"a", timeout=GUARD_SECONDS))
    api.valid.clear()
    call = ask(b"a", timeout=GUARD_SECONDS)
    assert next(call) == b"first"
    with pytest.raises(grpc.RpcError):
        next(call)
    assert list(ask(b"a", timeout=GUARD_SECONDS)) == [b"first", b"token-2 a"]
    assert provider.minted == 2


def test_answers_that_are_cancelled(api, provider, channel):
    """A call with many responses stays cancelled."""
    call = channel.unary_stream(LIST)(b"ab", timeout=GUARD_SECONDS)
    assert next(call) == b"token-1 a"
    assert call.cancel()
    with pytest.raises(grpc.RpcError):
        list(call)
    assert call.code() is grpc.StatusCode.CANCELLED
    assert provider.minted == 1


def test_answers_that_are_cancelled_in_a_renewal(api, provider, channel):
    """A refused call that was cancelled is not made again."""
    ask = channel.unary_stream(LIST)
    list(ask(b"a", timeout=GUARD_SECONDS))
    api.valid.clear()
    provider.shut()
    call = ask(b"a", timeout=GUARD_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, call)
        assert provider.asking.wait(GUARD_SECONDS)
        call.cancel()
        provider.open.set()
        assert reading.exception(GUARD_SECONDS).code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-1"]


def test_a_crowd_with_many_answers(api, provider, channel, crowd):
    """50 concurrent calls that are all refused succeed, with one renewal."""
    ask = channel.unary_stream(LIST)
    list(ask(b"a", timeout=GUARD_SECONDS))
    api.valid.clear()
    answers = crowd(50, lambda: b"".join(ask(b"a", timeout=GUARD_SECONDS)))
    assert set(answers) == {b"token-2 a"}
    assert provider.minted == 2


@pytest.mark.parametrize("by_future", [False, True])
def test_many_requests(api, provider, channel, by_future):
    """A refused stream of requests is not sent again, and the next call has the new token."""
    send = channel.stream_unary(PUT)

    def put():
        requests = iter([b"a", b"b"])
        if by_future:
            return send.future(requests, timeout=GUARD_SECONDS).result(GUARD_SECONDS)
        return send(requests, timeout=GUARD_SECONDS)

    assert put() == b"token-1 ab"
    api.valid.clear()
    with pytest.raises(grpc.RpcError) as raised:
        put()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert put() == b"token-2 ab"
    assert provider.minted == 2


@pytest.mark.parametrize("method", [PUT, CHAT])
def test_a_refusal_is_reported_before_the_renewal(api, provider, channel, method):
    """A caller whose call can't be made again does not wait for the renewal."""
    make = channel.stream_unary if method is PUT else channel.stream_stream
    list(make(method)(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    provider.shut()
    with pytest.raises(grpc.RpcError):
        list(make(method)(iter([b"a"]), timeout=GUARD_SECONDS))
    provider.open.set()
    list(make(method)(iter([b"a"]), timeout=GUARD_SECONDS))
    assert provider.minted == 2


def test_requests_that_wait_for_their_caller(channel):
    """A call by ``future()`` does not wait for requests that its caller has not written yet."""
    written = threading.Event()

    def requests():
        assert written.wait(GUARD_SECONDS)
        yield b"a"

    future = channel.stream_unary(PUT).future(requests(), timeout=GUARD_SECONDS)
    written.set()
    assert future.result(GUARD_SECONDS) == b"token-1 a"


def test_many_of_both(api, provider, channel):
    """A refused stream in both directions is not started again; the next call has the new token."""
    chat = channel.stream_stream(CHAT)
    assert list(chat(iter([b"a", b"b"]), timeout=GUARD_SECONDS)) == [b"token-1 a", b"token-1 b"]
    api.valid.clear()
    with pytest.raises(grpc.RpcError) as raised:
        list(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert list(chat(iter([b"a"]), timeout=GUARD_SECONDS)) == [b"token-2 a"]
    assert provider.minted == 2


def test_a_crowd_with_many_requests(api, provider, channel, crowd):
    """None of 50 refused streams is started again, and one renewal serves all."""
    chat = channel.stream_stream(CHAT)
    list(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    ends = crowd(50, lambda: list(chat(iter([b"a"]), timeout=GUARD_SECONDS)))
    refused = [end for end in ends if end != [b"token-2 a"]]  # the early ones
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAUTHENTICATED}
    assert list(chat(iter([b"a"]), timeout=GUARD_SECONDS)) == [b"token-2 a"]
    assert provider.minted == 2
