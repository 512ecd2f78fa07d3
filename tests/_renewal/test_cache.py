"""What follows from a failed request, and from a rejected token that is granted again."""

import math
from datetime import UTC, datetime

import pytest

from tokenkeeper import KeeperClosedError, OAuth2Token, RetryPolicy, TokenAcquisitionError
from tokenkeeper._renewal.cache import FailureOutcome, TokenCache
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.usage import IdleTimeouts, Usage
from tokenkeeper.retry import as_oauth2_error
from tokenkeeper.schedule import Deadlines
from tokenkeeper.testing import SteppedClock

NOW = 1000.0
POLICY = RetryPolicy(initial_wait_seconds=0.5, background_wait_seconds=60.0)
OUTAGE = TokenAcquisitionError("down", transient=True)
WRONG_SECRET = TokenAcquisitionError("wrong secret", transient=False)
CLOSED = KeeperClosedError("closed")
INTERRUPTED = as_oauth2_error(KeyboardInterrupt(), "api")


@pytest.fixture
def clock():
    return SteppedClock(wall=NOW, monotonic=NOW)


@pytest.fixture
def cache(clock):
    usage = Usage(10, IdleTimeouts(own=math.inf, chosen=math.inf), clock)
    return TokenCache(30.0, POLICY, clock, usage=usage)


def cached(text="a", *, dead_in=600.0):
    """Return a token that is no longer served in *dead_in* seconds, and expires 10 s later."""
    token = OAuth2Token(text, "Bearer", datetime.fromtimestamp(NOW, UTC))
    dead_at = NOW + dead_in
    return CachedToken.of(token, Deadlines(NOW, NOW, dead_at, dead_at + 10.0), 1, None, 0.0)


@pytest.mark.parametrize(
    ("dead_in", "error", "outcome"),
    [
        # no token: the same error for a while
        (None, WRONG_SECRET, FailureOutcome(None, 0.0, 30.0)),
        (None, OUTAGE, FailureOutcome(None, 0.0, 2.0)),
        # a valid token: another try, sooner if little is left of it
        (600.0, WRONG_SECRET, FailureOutcome(NOW + 60.0, 610.0, 0.0)),
        (600.0, OUTAGE, FailureOutcome(NOW + 0.5, 610.0, 0.0)),
        (30.0, WRONG_SECRET, FailureOutcome(NOW + 10.0, 40.0, 0.0)),
        # an expired token, to the tick: another try only if that may help
        (0.0, WRONG_SECRET, FailureOutcome(None, 0.0, 30.0)),
        (0.0, OUTAGE, FailureOutcome(NOW + 0.5, 0.0, 2.0)),
        # neither says anything about the provider, so the next caller tries at once
        (None, CLOSED, FailureOutcome(None, 0.0, 0.0)),
        (None, INTERRUPTED, FailureOutcome(None, 0.0, 0.0)),
        (0.0, INTERRUPTED, FailureOutcome(NOW + 0.5, 0.0, 0.0)),
    ],
)
def test_failures(cache, dead_in, error, outcome):
    """What is left of the token, and the kind of the error, decide what follows from it."""
    if dead_in is not None:
        cache.tokens["api"] = cached(dead_in=dead_in)
    assert cache.fail("api", error, POLICY, 1.0) == outcome
    if outcome.renew_at is not None:
        assert cache.tokens["api"].renew_at == outcome.renew_at


@pytest.mark.parametrize(
    ("wall", "monotonic", "dead_in", "is_due"),
    [
        (60.0, 0.0, 600.0, True),
        (-60.0, 0.0, 600.0, False),  # no deadline moves
        (0.0, -60.0, 600.0, True),  # set back, as in a restored process
        # expired by the time before the step: no renewal is scheduled for it
        (60.0, 0.0, 0.0, False),
        (0.0, -60.0, 0.0, False),
        (0.0, -60.0, 1.0, True),
        (0.0, -60.0, -1.0, False),
    ],
)
def test_steps_of_the_clocks(cache, clock, wall, monotonic, dead_in, is_due):
    """A step brings the renewal of each token forward that was valid before it."""
    cache.tokens["api"] = before = cached(dead_in=dead_in).due_again(NOW + 500.0)
    clock.step_wall(wall)
    clock.step_monotonic(monotonic)
    due = cache.follow_clocks(lambda: 0.0)
    assert due == ({"api": cache.tokens["api"].renew_at} if is_due else {})
    assert not is_due or cache.tokens["api"].renew_at < before.renew_at


@pytest.mark.parametrize("is_cached", [True, False])
def test_make_due(cache, is_cached):
    """A token that is made due is renewed at once, whatever failed or was rejected before."""
    if is_cached:
        cache.tokens["api"] = cached("rejected")
    cache.cooldown.note("api", WRONG_SECRET)
    cache.rejections.note("api", "rejected")
    assert cache.make_due("api") is is_cached
    assert cache.cooldown.refusal("api") is None
    assert not cache.rejections.knows("api", "rejected")
    assert not is_cached or cache.tokens["api"].renew_at == -math.inf


@pytest.mark.parametrize(
    ("text", "current", "after_rejection", "matters"),
    [
        ("rejected", None, True, True),
        ("rejected", None, False, False),
        ("rejected", cached("other"), True, True),
        ("rejected", cached("other"), False, False),
        ("rejected", cached("other").after_refusal(), True, True),
        ("rejected", cached("other").after_refusal(), False, True),
        ("another", cached("other").after_refusal(), True, False),
        ("another", None, True, False),
    ],
)
def test_granted_again(cache, text, current, after_rejection, matters):
    """A rejected token that is granted again matters while callers need another one."""
    cache.rejections.note("api", "rejected")
    if current is not None:
        cache.tokens["api"] = current
    found = cache.was_rejected_before("api", cached(text), after_rejection=after_rejection)
    assert found is matters
