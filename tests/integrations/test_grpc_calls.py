"""Blocking gRPC calls with a keeper's token over real TLS, to a server that refuses some."""

import threading

import grpc
import pytest
from integrations.things import CHAT, GET, LIST, PUT, served, with_tokens_of

from tokenkeeper.integrations.grpc import RenewingInterceptor

GUARD_SECONDS = 30


@pytest.fixture
def things(api):
    """Return the server's handler, its address and what a channel needs to trust it."""
    with served(api) as server:
        yield server


@pytest.fixture
def channel(things, keeper):
    """Return a channel that has plugin and interceptor."""
    _, address, trusted = things
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:
        yield grpc.intercept_channel(channel, RenewingInterceptor(keeper, "api"))


@pytest.fixture
def get(channel):
    """Return what makes a call with one request and one answer."""
    return lambda: channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS).decode()


def test_a_revoked_token(api, provider, get):
    """A call that is refused renews once, and is made again."""
    assert get() == "token-1"
    api.valid.clear()
    assert get() == "token-2"
    assert provider.minted == 2


def test_a_second_refusal(api, provider, get):
    """A second refusal is the caller's."""
    provider.good = False
    with pytest.raises(grpc.RpcError) as raised:
        get()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd(api, provider, get, crowd):
    """Of 50 calls at once, all refused, each succeeds, with one renewal for all."""
    get()
    api.valid.clear()
    assert set(crowd(50, get)) == {"token-2"}
    assert provider.minted == 2


def test_no_token(keeper, get):
    """A call for which there is no token ends with the reason."""
    keeper.close()
    with pytest.raises(Exception, match="closed"):
        get()


def test_many_answers(api, provider, channel):
    """A call with many answers is made again, and its status is that of the call that counts."""
    ask = channel.unary_stream(LIST)
    assert list(ask(b"ab", timeout=GUARD_SECONDS)) == [b"token-1 a", b"token-1 b"]
    api.valid.clear()
    call = ask(b"ab", timeout=GUARD_SECONDS)
    assert list(call) == [b"token-2 a", b"token-2 b"]
    assert call.code() is grpc.StatusCode.OK
    assert provider.minted == 2


def test_many_answers_refused_twice(api, provider, channel):
    """The second refusal of a call with many answers is the caller's."""
    provider.good = False
    with pytest.raises(grpc.RpcError) as raised:
        list(channel.unary_stream(LIST)(b"ab", timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-2"]


def test_refused_after_an_answer(api, keeper, provider, channel, things):
    """A call of which an answer has come is not made again, and the next one has a new token."""
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


def test_a_crowd_with_many_answers(api, provider, channel, crowd):
    """Of 50 such calls at once, all refused, each succeeds, with one renewal for all."""
    ask = channel.unary_stream(LIST)
    list(ask(b"a", timeout=GUARD_SECONDS))
    api.valid.clear()
    answers = crowd(50, lambda: b"".join(ask(b"a", timeout=GUARD_SECONDS)))
    assert set(answers) == {b"token-2 a"}
    assert provider.minted == 2


@pytest.mark.parametrize("method", [GET, LIST])
def test_another_failure(api, provider, channel, things, method):
    """A call that fails for another reason is not made again, and renews nothing."""
    things[0].refusal = grpc.StatusCode.PERMISSION_DENIED
    provider.good = False
    make = channel.unary_unary if method is GET else channel.unary_stream
    with pytest.raises(grpc.RpcError) as raised:
        list(make(method)(b"a", timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert api.tokens == ["token-1"]


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
def test_a_refusal_is_told_before_the_renewal(api, provider, channel, method):
    """Whose call can't be made again need not wait until there is a new token."""
    make = channel.stream_unary if method is PUT else channel.stream_stream
    list(make(method)(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    provider.open.clear()
    with pytest.raises(grpc.RpcError):
        list(make(method)(iter([b"a"]), timeout=GUARD_SECONDS))
    provider.open.set()
    list(make(method)(iter([b"a"]), timeout=GUARD_SECONDS))
    assert provider.minted == 2


def test_requests_that_wait_for_their_caller(channel):
    """A call by ``future()`` does not wait for requests that its caller has yet to write."""
    written = threading.Event()

    def requests():
        assert written.wait(GUARD_SECONDS)
        yield b"a"

    future = channel.stream_unary(PUT).future(requests(), timeout=GUARD_SECONDS)
    written.set()
    assert future.result(GUARD_SECONDS) == b"token-1 a"


def test_many_of_both(api, provider, channel):
    """A refused stream of requests and answers is not begun again; the next has the new token."""
    chat = channel.stream_stream(CHAT)
    assert list(chat(iter([b"a", b"b"]), timeout=GUARD_SECONDS)) == [b"token-1 a", b"token-1 b"]
    api.valid.clear()
    with pytest.raises(grpc.RpcError) as raised:
        list(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert list(chat(iter([b"a"]), timeout=GUARD_SECONDS)) == [b"token-2 a"]
    assert provider.minted == 2
