"""The arithmetic of a token's life, edge by edge."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper.clock import Instant
from tokenkeeper.schedule import (
    LONGEST_LIFE_SECONDS,
    deadlines,
    deadlines_of_same_token,
    lifetime_seconds,
)


@pytest.mark.parametrize(
    ("lifetime", "buffer", "jitter", "renew", "stale", "dead"),
    [
        # an hour: the full buffer, a minute of lead, ten seconds of margin
        (3600, 300, 0, 3240, 3300, 3590),
        (3600, 300, 1, 3180, 3300, 3590),
        # the shortest life that has room for the whole buffer, within a third of its use
        (880, 300, 0, 520, 580, 870),
        # below it everything shrinks; the margin is a twentieth and a second
        (310, 300, 0, 170, 200, 300),
        (60, 300, 0, 56 * 17 / 30, 56 * 2 / 3, 56),
        (60, 300, 1, 56 * 31 / 60, 56 * 2 / 3, 56),
        (4, 300, 0, 2.8 * 17 / 30, 2.8 * 2 / 3, 2.8),
        # less than two seconds: half of it for the server's rounding
        (1, 300, 0, 0.45 * 17 / 30, 0.3, 0.45),
        # a provider with a buffer of its own
        (3600, 1000, 0, 2540, 2600, 3590),
        (3600, 3000, 0, 3590 * 2 / 3 - 60, 3590 * 2 / 3, 3590),
        # no buffer at all: still never past the margin
        (3600, 0, 0, 3530, 3590, 3590),
    ],
)
def test_deadlines(lifetime, buffer, jitter, renew, stale, dead):
    """Buffer, lead and margin are taken off the end and shrink with a short life."""
    times = deadlines(0.0, lifetime, buffer, jitter)
    assert times == pytest.approx((renew, stale, dead, lifetime))


@given(
    sent=st.floats(0, 1e9),
    lifetime=st.floats(0.01, LONGEST_LIFE_SECONDS),
    buffer=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)
def test_order(sent, lifetime, buffer, jitter):
    """Renewal comes first, then the buffer, then death, then the end; and use before all."""
    times = deadlines(sent, lifetime, buffer, jitter)
    assert times.renew_at <= times.stale_at <= times.dead_at <= times.ends_at
    used = times.renew_at - sent
    assert used >= 0.5 * (times.dead_at - sent) - math.ulp(sent) * 8


@given(lifetime=st.floats(2.0, 1e6), granted=st.floats(0.0, 1.0), now=st.floats(0.0, 1e6))
def test_a_server_that_counts_in_whole_seconds(lifetime, granted, now):
    """A token is dead to us before it can be to a server that drops fractions of a second."""
    dead_at = deadlines(granted, lifetime, 300.0, 0.0).dead_at
    ends_there = math.floor(granted) + math.floor(lifetime)
    assert dead_at <= ends_there or lifetime % 1


def test_lifetime_counts_from_the_request():
    """A token lives from the moment its request was sent, not from when the answer came."""
    before, after = Instant(1000.0, 50.0), Instant(1002.0, 52.0)
    assert lifetime_seconds(1000.0 + 3600, before, after) == 3600


@pytest.mark.parametrize("step", [3600.0, -3600.0])
@pytest.mark.parametrize("seen_after_step", [True, False])
def test_lifetime_under_a_stepped_clock(step, seen_after_step):
    """A wall clock stepped during the request shortens the life we see, never stretches it."""
    before, after = Instant(1000.0, 50.0), Instant(1002.0 + step, 52.0)
    seen = 1000.0 + (step if seen_after_step else 0.0)
    assert lifetime_seconds(seen + 3600, before, after) <= 3600


def test_lifetime_is_clamped():
    """A token that claims to live for centuries is given ten years."""
    now = Instant(1000.0, 50.0)
    assert lifetime_seconds(1e12, now, now) == LONGEST_LIFE_SECONDS


HOUR = 3600.0
DAY = 86400.0


@pytest.mark.parametrize(
    ("lifetime", "refresh_after", "jitter", "renew"),
    [
        (DAY, DAY / 2, 0, DAY / 2),
        (DAY, DAY / 2, 1, DAY / 2 - 60),
        (HOUR, 1800, 0, 1800),
        (HOUR, 1800, 0.5, 1770),
        # later than the keeper would renew anyway
        (HOUR, 3500, 0, 3240),
        (HOUR, 1e9, 1, 3180),
        # at once, or in the past: the token is used for a tenth of its life all the same
        (HOUR, 0, 0, 360),
        (HOUR, -1e9, 1, 360),
        (HOUR, 361, 1, 360),
        (60, 1, 0, 6),
    ],
)
def test_the_server_says_when_to_renew(lifetime, refresh_after, jitter, renew):
    """A renewal is planned no later than the server says, but not in a loop; no edge else moves."""
    plain = deadlines(0.0, lifetime, 300.0, jitter)
    times = deadlines(0.0, lifetime, 300.0, jitter, refresh_after)
    assert times == plain._replace(renew_at=pytest.approx(renew))


def held(sent=0.0, lifetime=15.0):
    return deadlines(sent, lifetime, 300.0, 0.0)


@pytest.mark.parametrize(
    ("ends_at", "sent", "now", "expected"),
    [
        # at its half the same expiry, exactly or rounded, or by an answer that took four seconds
        (15.0, 8.0, 8.0, (12.3125, 12.3125, 13.75, 15.0)),
        (14.1, 8.0, 8.0, (12.3125, 12.3125, 13.75, 15.0)),
        (15.9, 8.0, 8.0, (12.9875, 12.9875, 14.65, 15.9)),
        (9.1, 8.0, 12.0, (13.3125, 13.3125, 13.75, 15.0)),
        # near its expiry no time is left to plan ahead
        (15.0, 13.0, 13.0, (13.75, 13.75, 13.75, 15.0)),
        (15.0, 14.5, 14.5, (13.75, 13.75, 13.75, 15.0)),
        # an expiry that was moved ahead, and one that was moved back
        (23.0, 8.0, 8.0, None),
        (16.1, 8.0, 8.0, None),
        (17.0, 16.0, 16.0, None),
        (12.0, 8.0, 8.0, (10.0625, 10.0625, 10.75, 12.0)),
        # earlier than it was planned: nothing is learnt about its end
        (15.0, 7.0, 7.0, held()),
        (14.0, 0.5, 0.6, held()),
    ],
)
def test_the_same_token_again(ends_at, sent, now, expected):
    """A token that is granted again keeps its expiry, loses its margin, and is renewed near it."""
    times = deadlines_of_same_token(held(), ends_at, sent, now)
    assert times == (expected and pytest.approx(tuple(expected), abs=1e-6))


@given(
    lifetime=st.floats(0.5, 1e5),
    part=st.floats(0, 1),
    answer=st.floats(-3, 3),
    took=st.floats(0, 3),
)
def test_never_beyond_what_was_said(lifetime, part, answer, took):
    """However it is granted again, it is not served when both answers call it expired."""
    first = deadlines(0.0, lifetime, 300.0, 0.0)
    sent = part * lifetime
    ends_at = lifetime + answer
    times = deadlines_of_same_token(first, ends_at, sent, sent + took)
    if times is not None:
        assert times.renew_at <= times.stale_at <= times.dead_at < times.ends_at
        assert times.ends_at <= max(ends_at, lifetime)
        assert times.dead_at <= max(times.ends_at - 1.0, first.dead_at)
