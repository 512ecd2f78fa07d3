"""What a caller wants, and what grants it."""

import math

import pytest

from tokenkeeper._renewal.cached_token import HeldToken
from tokenkeeper._renewal.need import Wish
from tokenkeeper.testing import SteppedClock


def held(token="a", *, sent=5, dead_at=100.0):
    return HeldToken(
        access_token=token,
        stale_at=dead_at,
        dead_at=dead_at,
        ends_at=dead_at,
        renew_at=dead_at,
        token=None,
        sent=sent,
    )


@pytest.mark.parametrize(
    ("wish", "now", "granted"),
    [
        (Wish("api", 7), 99.9, True),
        (Wish("api", 7), 100.0, False),
        # only what was sent after the caller came
        (Wish("api", 7, force=True), 50.0, False),
        (Wish("api", 4, force=True), 50.0, True),
        (Wish("api", 4, force=True), 100.0, False),
        # any but the refused one, granted again or not
        (Wish("api", 7, refused="a"), 50.0, False),
        (Wish("api", 7, refused="b"), 50.0, True),
        (Wish("api", 4, refused="a"), 50.0, False),
    ],
)
def test_granted_by(wish, now, granted):
    """A wish is granted by a live token that is new enough and not the refused one."""
    assert wish.is_granted_by(held(), now) is granted


@pytest.mark.parametrize(
    ("wish", "refuses"),
    [
        (Wish("api", 7), False),
        (Wish("api", 7, refused="b"), False),
        (Wish("api", 7, refused="a"), True),
        (Wish("api", 4, refused="a"), True),
    ],
)
def test_refuses(wish, refuses):
    """The token that the API refused is refused, also where the server granted it again."""
    assert wish.refuses(held()) is refuses


def test_patience():
    """Patience ends at the deadline and is never negative; without a deadline it is endless."""
    clock = SteppedClock(monotonic=10.0)
    assert Wish("api", 1).patience(clock) is None
    assert Wish("api", 1, deadline=12.5).patience(clock) == 2.5
    assert Wish("api", 1, deadline=9.0).patience(clock) == 0.0
    assert Wish("api", 1).deadline == math.inf
