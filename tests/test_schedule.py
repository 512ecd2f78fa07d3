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
        # the shortest life that has room for the whole buffer
        (900, 300, 0, 540, 600, 890),
        # below it everything shrinks
        (300, 300, 0, 170, 200, 290),
        (60, 300, 0, 34, 40, 57),
        (60, 300, 1, 31, 40, 57),
        (4, 300, 0, 4 - 4 / 3 - 0.4, 4 - 4 / 3, 3.8),
        # a provider with a buffer of its own
        (3600, 1000, 0, 2540, 2600, 3590),
        (3600, 3000, 0, 2340, 2400, 3590),
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
    assert used >= 0.5 * lifetime - math.ulp(sent) * 8


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
