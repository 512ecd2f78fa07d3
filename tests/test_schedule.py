"""The arithmetic of a token's life, edge by edge."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenkeeper.clock import Instant
from tokenkeeper.schedule import LONGEST_LIFE_SECONDS, deadlines, lifetime_seconds


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
