"""A cached token's deadlines after steps of the clocks, and what is reported of it."""

import math
from datetime import UTC, datetime

import pytest

from tokenkeeper import OAuth2Token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._runtime.clock_steps import ClockStep
from tokenkeeper.schedule import Deadlines
from tokenkeeper.testing import SteppedClock

NOW = 1000.0
OFFSET = 50.0
RENEW, STALE, DEAD, ENDS = 100.0, 200.0, 300.0, 310.0
"""The deadlines of the token, in seconds from now."""


@pytest.fixture
def cached():
    token = OAuth2Token("a", "Bearer", datetime.fromtimestamp(NOW + OFFSET + ENDS, UTC))
    times = Deadlines(*[NOW + each for each in (RENEW, STALE, DEAD, ENDS)])
    return CachedToken.of(token, times, 1, None, OFFSET)


@pytest.mark.parametrize(
    ("ahead", "set_back", "later", "ahead_by", "renew_in"),
    [
        (0.0, 0.0, 0.0, 0.0, RENEW),
        (-20.0, 0.0, 0.0, 0.0, RENEW),  # the wall clock was set back: no deadline moves
        (20.0, 0.0, 0.0, 20.0, RENEW - 20.0),
        (0.0, 20.0, 0.0, 20.0, RENEW - 20.0),  # the monotonic clock was set back
        (30.0, 20.0, 0.0, 30.0, RENEW - 30.0),
        # due because of the step: spread over five seconds, or half of what is left
        (99.0, 0.0, 0.0, 99.0, 1.0),
        (100.0, 0.0, 0.0, 100.0, 5.0),
        (296.0, 0.0, 0.0, 296.0, 2.0),
        (300.0, 0.0, 0.0, 300.0, 5.0),
        (900.0, 0.0, 0.0, 900.0, 5.0),
        # due before the step: as urgent as it was
        (10.0, 0.0, 100.0, 10.0, RENEW - 10.0),
        (10.0, 0.0, 150.0, 10.0, RENEW - 10.0),
    ],
)
def test_after_step(cached, ahead, set_back, later, ahead_by, renew_in):
    """Deadlines come forward by what the wall clock ran ahead, and never move back."""
    moved = cached.after_step(ClockStep(OFFSET + ahead, set_back), NOW + later, 1.0)
    assert moved.times == Deadlines(
        NOW + renew_in, NOW + STALE - ahead_by, NOW + DEAD - ahead_by, NOW + ENDS - ahead_by
    )
    assert moved.clock_offset == OFFSET + ahead


def test_jitter_spreads(cached):
    """Tokens that one step makes due are renewed within the next five seconds."""
    step = ClockStep(OFFSET + 100.0)
    due = [cached.after_step(step, NOW, jitter).renew_at - NOW for jitter in (0.0, 0.5, 1.0)]
    assert due == [0.0, 2.5, 5.0]


@pytest.mark.parametrize(("ahead", "moves"), [(-20.0, False), (1.0, False), (1.5, True)])
def test_caught_up(cached, ahead, moves):
    """A token that was granted before a step catches up with it, but not with drift."""
    found = cached.caught_up(OFFSET + ahead, NOW)
    assert (found is cached) is not moves
    assert found.dead_at == NOW + DEAD - (ahead if moves else 0.0)


def test_a_token_that_is_due_once_it_caught_up(cached):
    """A token whose step makes it due is renewed at once: no crowd of tokens came due with it."""
    assert cached.caught_up(OFFSET + RENEW + 50.0, NOW).renew_at == NOW


@pytest.mark.parametrize(
    ("ahead", "later", "state", "is_expired", "remaining", "renews_in"),
    [
        (0.0, 0.0, "fresh", False, ENDS, RENEW),
        (0.0, 150.0, "fresh", False, 160.0, 0.0),
        (0.0, STALE, "renewing", True, 110.0, 0.0),
        (0.0, DEAD, "expired", True, 10.0, 0.0),
        (0.0, 400.0, "expired", True, 0.0, 0.0),
        (1.0, 0.0, "fresh", False, ENDS, RENEW),
        (2.0, 0.0, "fresh", False, ENDS - 2.0, RENEW - 2.0),
        (STALE, 0.0, "renewing", True, 110.0, 0.0),
        (-500.0, 0.0, "fresh", False, ENDS, RENEW),
    ],
)
def test_snapshot(cached, ahead, later, state, is_expired, remaining, renews_in):
    """What is reported counts a step that was not noticed yet, and drift not at all."""
    clock = SteppedClock(wall=NOW + OFFSET + ahead + later, monotonic=NOW + later)
    seen = cached.snapshot(clock)
    assert (seen.state, seen.is_expired) == (state, is_expired)
    assert (seen.remaining_seconds, seen.renews_in_seconds) == (remaining, renews_in)
    assert seen.expires_at == "1970-01-01T00:22:40+00:00"


def test_a_rejected_token(cached):
    """A token that an API rejected has expired in every respect, and stays so."""
    refused = cached.after_refusal()
    assert refused.is_refused
    assert not cached.is_refused
    seen = refused.snapshot(SteppedClock(wall=NOW + OFFSET, monotonic=NOW))
    assert (seen.state, seen.remaining_seconds, seen.renews_in_seconds) == ("expired", 0.0, 0.0)
    assert refused.after_step(ClockStep(OFFSET - 500.0), NOW, 1.0).is_refused
    assert refused.stale_at == refused.renew_at == -math.inf


def test_successors_count(cached):
    """A token knows how many renewals led to it."""
    second = CachedToken.of(cached.token, cached.times, 2, cached, OFFSET)
    third = CachedToken.of(cached.token, cached.times, 3, second, OFFSET)
    assert [each.renewals for each in (cached, second, third)] == [0, 1, 2]
    assert third.sent == 3
