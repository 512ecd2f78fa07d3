"""A token's deadlines, edge by edge."""

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
        # the shortest lifetime with the whole buffer, which takes a third of the use
        (880, 300, 0, 520, 580, 870),
        # below that everything shrinks; the margin is a twentieth plus a second
        (310, 300, 0, 170, 200, 300),
        (60, 300, 0, 56 * 17 / 30, 56 * 2 / 3, 56),
        (60, 300, 1, 56 * 31 / 60, 56 * 2 / 3, 56),
        (4, 300, 0, 2.8 * 17 / 30, 2.8 * 2 / 3, 2.8),
        # less than two seconds: half of it is the server's rounding
        (1, 300, 0, 0.45 * 17 / 30, 0.3, 0.45),
        # a provider with its own buffer
        (3600, 1000, 0, 2540, 2600, 3590),
        (3600, 3000, 0, 3590 * 2 / 3 - 60, 3590 * 2 / 3, 3590),
        # no buffer: still not past the margin
        (3600, 0, 0, 3530, 3590, 3590),
    ],
)
def test_deadlines(lifetime, buffer, jitter, renew, stale, dead):
    """Buffer, lead and margin precede the expiry, and shrink for a short lifetime."""
    times = deadlines(0.0, lifetime, buffer, jitter)
    assert times == pytest.approx((renew, stale, dead, lifetime))


@given(
    sent=st.floats(0, 1e9),
    lifetime=st.floats(0.01, LONGEST_LIFE_SECONDS),
    buffer=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)
def test_order(sent, lifetime, buffer, jitter):
    """The order is: use, renewal, buffer, margin, expiry."""
    times = deadlines(sent, lifetime, buffer, jitter)
    assert times.renew_at <= times.stale_at <= times.dead_at <= times.ends_at
    used = times.renew_at - sent
    assert used >= 0.5 * (times.dead_at - sent) - math.ulp(sent) * 8


@given(lifetime=st.floats(2.0, 1e6), granted=st.floats(0.0, 1.0), now=st.floats(0.0, 1e6))
def test_a_server_that_counts_in_whole_seconds(lifetime, granted, now):
    """A token is no longer used before a server that drops fractions of a second ends it."""
    dead_at = deadlines(granted, lifetime, 300.0, 0.0).dead_at
    ends_there = math.floor(granted) + math.floor(lifetime)
    assert dead_at <= ends_there or lifetime % 1


def test_lifetime_counts_from_the_request():
    """A lifetime counts from when the request was sent, not from the response."""
    before, after = Instant(1000.0, 50.0), Instant(1002.0, 52.0)
    assert lifetime_seconds(1000.0 + 3600, before, after) == 3600


@pytest.mark.parametrize("step", [3600.0, -3600.0])
@pytest.mark.parametrize("seen_after_step", [True, False])
def test_lifetime_under_a_stepped_clock(step, seen_after_step):
    """A clock step during the request shortens the lifetime, and never extends it."""
    before, after = Instant(1000.0, 50.0), Instant(1002.0 + step, 52.0)
    seen = 1000.0 + (step if seen_after_step else 0.0)
    assert lifetime_seconds(seen + 3600, before, after) <= 3600


def test_lifetime_is_clamped():
    """A lifetime of centuries is reduced to ten years."""
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
        # at once, or in the past: the token is still used for a tenth of its lifetime
        (HOUR, 0, 0, 360),
        (HOUR, -1e9, 1, 360),
        (HOUR, 361, 1, 360),
        (60, 1, 0, 6),
    ],
)
def test_the_server_says_when_to_renew(lifetime, refresh_after, jitter, renew):
    """A renewal is planned no later than the server says; other deadlines stay."""
    plain = deadlines(0.0, lifetime, 300.0, jitter)
    times = deadlines(0.0, lifetime, 300.0, jitter, refresh_after)
    assert times == plain._replace(renew_at=pytest.approx(renew))


def held(sent=0.0, lifetime=15.0):
    return deadlines(sent, lifetime, 300.0, 0.0)


@pytest.mark.parametrize(
    ("ends_at", "sent", "now", "expected"),
    [
        # halfway: the same expiry, exact or rounded, or in a response that took four seconds
        (15.0, 8.0, 8.0, (12.3125, 12.3125, 13.75, 15.0)),
        (14.1, 8.0, 8.0, (12.3125, 12.3125, 13.75, 15.0)),
        (15.9, 8.0, 8.0, (12.9875, 12.9875, 14.65, 15.9)),
        (9.1, 8.0, 12.0, (13.3125, 13.3125, 13.75, 15.0)),
        # near its expiry no renewal can be planned ahead
        (15.0, 13.0, 13.0, (13.75, 13.75, 13.75, 15.0)),
        (15.0, 14.5, 14.5, (13.75, 13.75, 13.75, 15.0)),
        # an earlier expiry, and a later one
        (23.0, 8.0, 8.0, None),
        (16.1, 8.0, 8.0, None),
        (17.0, 16.0, 16.0, None),
        (12.0, 8.0, 8.0, (10.0625, 10.0625, 10.75, 12.0)),
        # earlier than planned: nothing is learned about its expiry
        (15.0, 7.0, 7.0, held()),
        (14.0, 0.5, 0.6, held()),
    ],
)
def test_the_same_token_again(ends_at, sent, now, expected):
    """A repeated token keeps its expiry, loses its margin, and is renewed near the expiry."""
    times = deadlines_of_same_token(held(), ends_at, sent, now)
    assert times == (expected and pytest.approx(tuple(expected), abs=1e-6))


@given(
    lifetime=st.floats(0.5, 1e5),
    part=st.floats(0, 1),
    answer=st.floats(-3, 3),
    took=st.floats(0, 3),
)
def test_never_beyond_what_was_said(lifetime, part, answer, took):
    """A repeated token is not served once both responses call it expired."""
    first = deadlines(0.0, lifetime, 300.0, 0.0)
    sent = part * lifetime
    ends_at = lifetime + answer
    times = deadlines_of_same_token(first, ends_at, sent, sent + took)
    if times is not None:
        assert times.renew_at <= times.stale_at <= times.dead_at < times.ends_at
        assert times.ends_at <= max(ends_at, lifetime)
        assert times.dead_at <= max(times.ends_at - 1.0, first.dead_at)
