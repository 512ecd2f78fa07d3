"""The needs of callers, and which tokens meet them."""

import math

import pytest

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper.testing import SteppedClock


def held(token="a", *, sent=5, dead_at=100.0):
    return CachedToken(
        access_token=token,
        stale_at=dead_at,
        dead_at=dead_at,
        ends_at=dead_at,
        renew_at=dead_at,
        token=None,
        sent=sent,
    )


@pytest.mark.parametrize(
    ("need", "now", "granted"),
    [
        (Need("api", 7), 99.9, True),
        (Need("api", 7), 100.0, False),
        # only a token that was requested after the caller asked
        (Need("api", 7, force=True), 50.0, False),
        (Need("api", 4, force=True), 50.0, True),
        (Need("api", 4, force=True), 100.0, False),
        # any but the rejected one, granted again or not
        (Need("api", 7, refused="a"), 50.0, False),
        (Need("api", 7, refused="b"), 50.0, True),
        (Need("api", 4, refused="a"), 50.0, False),
    ],
)
def test_granted_by(need, now, granted):
    """A need is met by a valid token that is new enough and not the rejected one."""
    assert need.is_met_by(held(), now) is granted


@pytest.mark.parametrize(
    ("need", "refuses"),
    [
        (Need("api", 7), False),
        (Need("api", 7, refused="b"), False),
        (Need("api", 7, refused="a"), True),
        (Need("api", 4, refused="a"), True),
    ],
)
def test_refuses(need, refuses):
    """The token that the API rejected is rejected, even if the server granted it again."""
    assert need.refuses(held()) is refuses


def test_patience():
    """The remaining wait ends at the deadline and is never negative; by default it is infinite."""
    clock = SteppedClock(monotonic=10.0)
    assert Need("api", 1).remaining_wait(clock) is None
    assert Need("api", 1, deadline=12.5).remaining_wait(clock) == 2.5
    assert Need("api", 1, deadline=9.0).remaining_wait(clock) == 0.0
    assert Need("api", 1).deadline == math.inf


@pytest.mark.parametrize(
    ("need", "shown"),
    [
        (
            Need("api", 7),
            "Need(provider_name='api', asked=7, deadline=inf, force=False, refused=None)",
        ),
        (
            Need("api", 7, 12.5, force=True, refused="a"),
            "Need(provider_name='api', asked=7, deadline=12.5, force=True, refused='<hidden>')",
        ),
    ],
)
def test_repr(need, shown):
    """Its repr has all fields and hides the rejected token."""
    assert repr(need) == shown
