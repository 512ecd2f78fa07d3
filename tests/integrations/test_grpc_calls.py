"""Blocking gRPC calls with a keeper's token over real TLS, to a server that refuses some."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import SimpleNamespace

import grpc
import pytest
from integrations.things import CHAT, GET, LIST, PUT, served, with_tokens_of

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.integrations import _grpc_calls
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
    """Of 200 calls at once, all refused, each succeeds, with one renewal for all."""
    get()
    api.valid.clear()
    assert set(crowd(200, get)) == {"token-2"}
    assert provider.minted == 2


CALLS = {
    "unary": lambda channel, **options: channel.unary_unary(GET)(b"", **options),
    "future": lambda channel, **options: channel.unary_unary(GET).future(b"", **options).result(),
    "answers": lambda channel, **options: list(channel.unary_stream(LIST)(b"a", **options)),
    "requests": lambda channel, **options: channel.stream_unary(PUT)(iter([b"a"]), **options),
    "both": lambda channel, **options: list(channel.stream_stream(CHAT)(iter([b"a"]), **options)),
}
"""A call of each kind."""


@pytest.fixture(params=CALLS)
def call(request, channel):
    """Make a call of some kind."""

    def call(**options):
        return CALLS[request.param](channel, **{"timeout": GUARD_SECONDS, **options})

    return call


@pytest.fixture(params=["unary", "future", "answers"])
def one_request(request, channel):
    """Make a call with one request."""

    def one_request(**options):
        return CALLS[request.param](channel, **{"timeout": GUARD_SECONDS, **options})

    return one_request


@pytest.mark.parametrize("kind", ["unary", "future", "answers"])
def test_a_token_revoked_in_the_middle(api, provider, channel, crowd, kind):
    """While 200 callers are at it the token is revoked: each goes on, with one renewal for all."""

    def ask():
        answer = CALLS[kind](channel, timeout=GUARD_SECONDS)
        return b"".join(answer) if kind == "answers" else answer

    ask()
    api.revoke_at = 300
    answers = crowd(200, lambda: [ask().removesuffix(b" a") for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {b"token-1", b"token-2"}
    assert provider.minted == 2


def test_no_token(api, keeper, provider, call):
    """A call for which there is no token ends as gRPC has it, and the details say why."""
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    for _ in range(2):  # asked, and told again during the cooldown
        with pytest.raises(grpc.RpcError) as raised:
            call()
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "the server is down" in raised.value.details()
    keeper.close()
    with pytest.raises(grpc.RpcError) as raised:
        call()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "closed" in raised.value.details()
    assert provider.asked == 1
    assert api.seen == []


def test_an_unknown_provider(api, keeper, things):
    """The same goes for a name that nobody registered."""
    _, address, trusted = things
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted, "other")) as channel:
        channel = grpc.intercept_channel(channel, RenewingInterceptor(keeper, "other"))
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS)
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "'other'" in raised.value.details()


def test_no_new_token(api, provider, one_request):
    """A refused call for which there is no new token ends in the same way."""
    one_request()
    api.valid.clear()
    provider.failure = TokenAcquisitionError("the server is down", transient=False)
    with pytest.raises(grpc.RpcError) as raised:
        one_request()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "the server is down" in raised.value.details()
    assert api.tokens == ["token-1", "token-1"]


def test_a_deadline_before_the_first_token(api, provider, call):
    """A call ends when its time is over, though its token is still to come."""
    provider.shut()
    with pytest.raises(grpc.RpcError) as raised:
        call(timeout=0.1)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert api.seen == []
    provider.open.set()


def test_a_deadline_in_a_renewal(api, provider, one_request):
    """A call ends when its time is over, though the new token is still to come."""
    one_request()
    api.valid.clear()
    provider.shut()
    with pytest.raises(grpc.RpcError) as raised:
        one_request(timeout=0.5)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    provider.open.set()
    one_request()
    assert provider.minted == 2


def test_what_a_call_was_made_with(api, provider, things, one_request):
    """The second try has the caller's metadata, and only the time that is left."""
    one_request()
    api.valid.clear()
    provider.takes = 0.3
    one_request(timeout=9, metadata=[("x-mine", "1")], wait_for_ready=True)
    (first, before), (second, after) = things[0].calls[1:]
    assert (first["x-mine"], second["x-mine"]) == ("1", "1")
    assert before - after > 0.2


def test_details_that_another_made(keeper, things):
    """An interceptor of the caller's may have made the details, with no more than it needs."""
    wanted = SimpleNamespace(metadata=[("x-mine", "1")])

    class Mine(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, client_call_details, request):
            return continuation(wanted, request)

    _, address, trusted = things
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:
        channel = grpc.intercept_channel(channel, Mine(), RenewingInterceptor(keeper, "api"))
        assert channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS) == b"token-1"
    assert things[0].calls[0][0]["x-mine"] == "1"


def test_with_call(api, channel):
    """The call that is returned is the one that counts."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    answer, call = get.with_call(b"", timeout=GUARD_SECONDS)
    assert answer == b"token-2"
    assert call.code() is grpc.StatusCode.OK
    assert ("x-token", "token-2") in call.initial_metadata()


def test_a_future(api, provider, channel):
    """A call by ``future()`` waits for nothing, and knows of the call that counts alone."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    provider.shut()
    told, done = [], threading.Event()
    future = get.future(b"", timeout=GUARD_SECONDS)
    future.add_done_callback(told.append)
    assert future.add_callback(done.set)
    with pytest.raises(grpc.FutureTimeoutError):
        future.result(0)
    assert (future.done(), future.running(), future.is_active()) == (False, True, True)
    provider.open.set()
    assert done.wait(GUARD_SECONDS)
    assert told == [future]
    assert (future.done(), future.running(), future.is_active()) == (True, False, False)
    assert future.result() == b"token-2"
    assert (future.exception(), future.traceback()) == (None, None)
    assert (future.code(), future.details()) == (grpc.StatusCode.OK, "")
    assert ("x-token", "token-2") in future.initial_metadata()
    assert future.trailing_metadata() is not None
    assert future.time_remaining() <= GUARD_SECONDS
    assert (future.cancel(), future.cancelled()) == (False, False)
    future.add_done_callback(told.append)
    assert told == [future, future]
    assert not future.add_callback(done.clear)


def test_a_future_refused_before_it_was_handed_over(api, keeper, provider, things):
    """A call by ``future()`` waits for no renewal either if its refusal is there at once."""
    _, address, trusted = things
    keeper.get_token("api")
    api.valid.clear()
    provider.shut()
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:

        def continuation(details, request):
            call = channel.unary_unary(GET).future(request, timeout=GUARD_SECONDS)
            call.exception(GUARD_SECONDS)
            return call

        interceptor = RenewingInterceptor(keeper, "api")
        future = interceptor.intercept_unary_unary(continuation, SimpleNamespace(), b"")
        assert not future.done()
        provider.open.set()
        assert future.result(GUARD_SECONDS) == b"token-2"


@pytest.mark.parametrize("kind", ["future", "answers"])
def test_a_call_cancelled_as_it_is_made_again(api, keeper, things, kind):
    """One that is cancelled at the very last moment ends at once."""
    things, address, trusted = things
    keeper.get_token("api")
    api.valid.clear()
    interceptor, made, twice = RenewingInterceptor(keeper, "api"), [], threading.Event()
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:

        def continuation(details, request):
            if made:  # the second time
                things.open.clear()  # or it might be answered before it is cancelled
                call.cancel()
            one = (
                channel.unary_unary(GET).future if kind == "future" else channel.unary_stream(LIST)
            )
            made.append(one(request, timeout=GUARD_SECONDS))
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
    things.open.set()


@pytest.mark.parametrize("kind", ["unary", "future"])
def test_interceptors_that_come_after(api, keeper, things, kind):
    """They see both tries, in the context of the call."""
    variable, seen = ContextVar("variable"), []

    class After(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, client_call_details, request):
            seen.append(variable.get(None))
            return continuation(client_call_details, request)

    _, address, trusted = things
    with grpc.secure_channel(address, with_tokens_of(keeper, trusted)) as channel:
        both = RenewingInterceptor(keeper, "api"), After()
        keeper.get_token("api")
        api.valid.clear()
        variable.set("mine")
        CALLS[kind](grpc.intercept_channel(channel, *both), timeout=GUARD_SECONDS)
    assert seen == ["mine", "mine"]


def test_a_crowd_of_futures(api, provider, channel):
    """Of 200 calls under way at once, all refused, each succeeds, with one renewal for all."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    futures = [get.future(b"", timeout=GUARD_SECONDS) for _ in range(200)]
    assert {future.result(GUARD_SECONDS) for future in futures} == {b"token-2"}
    assert provider.minted == 2


def test_a_future_refused_twice(api, provider, channel):
    """The second refusal is the caller's."""
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
    """A refused call that nobody wants any more is not made again."""
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
    """A call that can't be made again ends in its refusal."""
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
    """Where no thread is to be had the refusal is the caller's."""

    def no_thread(**options):
        raise RuntimeError("can't start new thread")

    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    monkeypatch.setattr(
        _grpc_calls,
        "threading",
        SimpleNamespace(Thread=no_thread, Event=threading.Event, Lock=threading.Lock),
    )
    future = get.future(b"", timeout=GUARD_SECONDS)
    assert future.exception(GUARD_SECONDS).code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_server_that_goes_away(api, provider, things, one_request):
    """A lost connection is the caller's to know, and renews nothing."""
    one_request()
    things[0].server.stop(None).wait(GUARD_SECONDS)
    with pytest.raises(grpc.RpcError) as raised:
        one_request()
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert provider.minted == 1


def test_answers_that_are_cancelled(api, provider, channel):
    """A call with many answers that its caller ends stays ended."""
    call = channel.unary_stream(LIST)(b"ab", timeout=GUARD_SECONDS)
    assert next(call) == b"token-1 a"
    assert call.cancel()
    with pytest.raises(grpc.RpcError):
        list(call)
    assert call.code() is grpc.StatusCode.CANCELLED
    assert provider.minted == 1


def test_answers_that_are_cancelled_in_a_renewal(api, provider, channel):
    """A refused call that nobody wants any more is not made again."""
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


def test_a_crowd_with_many_requests(api, provider, channel, crowd):
    """Of 50 streams none that is refused is begun again, and one renewal is for all."""
    chat = channel.stream_stream(CHAT)
    list(chat(iter([b"a"]), timeout=GUARD_SECONDS))
    api.valid.clear()
    ends = crowd(50, lambda: list(chat(iter([b"a"]), timeout=GUARD_SECONDS)))
    refused = [end for end in ends if end != [b"token-2 a"]]  # those that came first
    assert {error.code() for error in refused} == {grpc.StatusCode.UNAUTHENTICATED}
    assert list(chat(iter([b"a"]), timeout=GUARD_SECONDS)) == [b"token-2 a"]
    assert provider.minted == 2


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
    provider.shut()
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
