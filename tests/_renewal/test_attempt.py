"""One token request: which method of the provider is called, and which token still counts."""

from datetime import UTC, datetime, timedelta

import pytest

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenAcquisitionError
from tokenkeeper._renewal.attempt import moment, request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper.schedule import deadlines
from tokenkeeper.testing import SteppedClock

LIFETIME = 2.5
"""A token with this lifetime is no longer served after 1.375 s: numbers without rounding errors."""


class Recorder(BaseOAuth2Provider):
    """Notes which of its methods is called, and with which token."""

    def __init__(self, clock, *, takes=0.0):
        super().__init__("api")
        self.clock = clock
        self.takes = takes
        self.calls = []

    def acquire_token(self):
        return self.called("acquire_token", None)

    def refresh_token(self, token):
        return self.called("refresh_token", token)

    def replace_refused_token(self, token):
        return self.called("replace_refused_token", token)

    def called(self, method, token):
        self.calls.append((method, token))
        granted = lasting(self.clock, f"a-{len(self.calls)}")
        self.clock.step(self.takes)
        return granted


def lasting(clock, text):
    ends_at = datetime.fromtimestamp(clock.time(), UTC) + timedelta(seconds=LIFETIME)
    return OAuth2Token(text, "Bearer", ends_at)


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def cached(clock):
    """Return a token that was granted just now."""
    times = deadlines(clock.monotonic(), LIFETIME, 0.0, 0.0)
    return CachedToken.of(lasting(clock, "a-0"), times, 1, None, 0.0)


@pytest.mark.parametrize(
    ("is_first", "options", "method"),
    [
        (True, {}, "acquire_token"),
        (True, {"refused": True}, "acquire_token"),
        (False, {}, "refresh_token"),
        (False, {"refused": False}, "refresh_token"),
        (False, {"refused": True}, "replace_refused_token"),
    ],
)
def test_which_method(clock, cached, is_first, options, method):
    """A first token is acquired, a cached one refreshed, and one that an API rejected replaced."""
    provider = Recorder(clock)
    replaces = None if is_first else cached
    request_token(provider, replaces, sent=2, clock=clock, jitter=lambda: 0.0, **options)
    assert [called for called, _ in provider.calls] == [method]


@pytest.mark.parametrize(
    ("age", "refused", "is_marked"),
    [
        (1.25, False, False),
        (1.375, False, True),
        (1.25, True, True),
    ],
)
def test_a_token_that_is_not_served_is_marked(clock, cached, age, refused, is_marked):
    """A provider can tell from the expiry whether the old token is still served."""
    clock.step(age)
    provider = Recorder(clock)
    request_token(provider, cached, sent=2, clock=clock, jitter=lambda: 0.0, refused=refused)
    ((_, given),) = provider.calls
    assert given.access_token == "a-0"
    now = datetime.fromtimestamp(clock.time(), UTC)
    assert given.expires_at == (now if is_marked else cached.token.expires_at)


@pytest.mark.parametrize(("takes", "is_served"), [(1.25, True), (1.375, False), (1.5, False)])
def test_a_slow_request(clock, takes, is_served):
    """A token that arrives when it is no longer served is an error, to the tick."""
    provider = Recorder(clock, takes=takes)
    if is_served:
        cached = request_token(provider, None, sent=2, clock=clock, jitter=lambda: 0.0)
        assert clock.monotonic() < cached.dead_at
    else:
        with pytest.raises(TokenAcquisitionError, match="before it arrived"):
            request_token(provider, None, sent=2, clock=clock, jitter=lambda: 0.0)


@pytest.mark.parametrize(
    ("answer", "wait"),
    [
        ({"retry_after": 1.5}, 1.5),
        ({"retry_after": 1.5, "status_code": 200}, 1.5),
        ({"retry_after": 2.0}, 2.0),
        ({"retry_after": 2.01}, None),
        ({"retry_after": 0.0}, None),
        ({}, None),
        ({"retry_after": 1.5, "status_code": 503}, None),
        ({"retry_after": 1.5, "error": "slow_down"}, None),
        ({"retry_after": 1.5, "transient": False}, None),
    ],
)
def test_too_early(answer, wait):
    """Only an answer without an error that asks for up to two seconds says "too early"."""
    assert moment(TokenAcquisitionError("later", **{"transient": True, **answer})) == wait
