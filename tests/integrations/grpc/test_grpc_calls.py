"""Blocking gRPC calls with one request and one response, to a server that refuses some tokens."""

from contextvars import ContextVar
from types import SimpleNamespace

import grpc
import pytest
from integrations.grpc.server import CALLS, GET, GUARD_SECONDS

from tokenkeeper.integrations.grpc import RenewingInterceptor


@pytest.fixture
def get(channel):
    """Return a function that makes a call with one request and one response."""
    return lambda: channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS).decode()


def test_a_revoked_token(api, provider, get):
    """A refused call renews the token once, and is made again."""
    assert get() == "token-1"
    api.valid.clear()
    assert get() == "token-2"
    assert provider.minted == 2


def test_a_second_refusal(api, provider, get):
    """The caller gets a second refusal."""
    provider.good = False
    with pytest.raises(grpc.RpcError) as raised:
        get()
    assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert api.tokens == ["token-1", "token-2"]


def test_a_crowd(api, provider, get, crowd):
    """200 concurrent calls that are all refused succeed, with one renewal."""
    get()
    api.valid.clear()
    assert set(crowd(200, get)) == {"token-2"}
    assert provider.minted == 2


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["unary", "future", "answers"])
def test_a_token_revoked_in_the_middle(api, provider, channel, crowd, kind):
    """A token is revoked while 200 threads use it: all of them go on, with one renewal."""

    def ask():
        answer = CALLS[kind](channel, timeout=GUARD_SECONDS)
        return b"".join(answer) if kind == "answers" else answer

    ask()
    api.revoke_at = 300
    answers = crowd(200, lambda: [ask().removesuffix(b" a") for _ in range(3)])
    assert {token for tokens in answers for token in tokens} == {b"token-1", b"token-2"}
    assert provider.minted == 2


def test_the_options_of_the_second_attempt(api, provider, things, one_request):
    """The second attempt has the caller's metadata, and only the remaining time."""
    one_request()
    api.valid.clear()
    provider.takes = 0.3
    one_request(timeout=9, metadata=[("x-mine", "1")], wait_for_ready=True)
    (first, before), (second, after) = things[0].calls[1:]
    assert (first["x-mine"], second["x-mine"]) == ("1", "1")
    assert before - after > 0.2


def test_details_that_another_made(keeper, things, without_renewal):
    """The call details may be another interceptor's object with few attributes."""
    wanted = SimpleNamespace(metadata=[("x-mine", "1")])

    class Mine(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, client_call_details, request):
            return continuation(wanted, request)

    both = Mine(), RenewingInterceptor(keeper, "api")
    channel = grpc.intercept_channel(without_renewal, *both)
    assert channel.unary_unary(GET)(b"", timeout=GUARD_SECONDS) == b"token-1"
    assert things[0].calls[0][0]["x-mine"] == "1"


def test_with_call(api, channel):
    """The returned call is the second attempt."""
    get = channel.unary_unary(GET)
    get(b"", timeout=GUARD_SECONDS)
    api.valid.clear()
    answer, call = get.with_call(b"", timeout=GUARD_SECONDS)
    assert answer == b"token-2"
    assert call.code() is grpc.StatusCode.OK
    assert ("x-token", "token-2") in call.initial_metadata()


@pytest.mark.parametrize("kind", ["unary", "future"])
def test_interceptors_that_come_after(api, keeper, without_renewal, kind):
    """Interceptors after this one see both attempts, in the context of the call."""
    variable, seen = ContextVar("variable"), []

    class After(grpc.UnaryUnaryClientInterceptor):
        def intercept_unary_unary(self, continuation, client_call_details, request):
            seen.append(variable.get(None))
            return continuation(client_call_details, request)

    both = RenewingInterceptor(keeper, "api"), After()
    keeper.get_token("api")
    api.valid.clear()
    variable.set("mine")
    CALLS[kind](grpc.intercept_channel(without_renewal, *both), timeout=GUARD_SECONDS)
    assert seen == ["mine", "mine"]
