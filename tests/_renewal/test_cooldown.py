"""How long refusals are remembered."""

import math

import pytest

from tokenkeeper._renewal.cooldown import Cooldown
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def cooldown(clock):
    return Cooldown(30.0, RetryPolicy(max_retry_after_seconds=60), clock)


def final(**knows):
    return TokenAcquisitionError("wrong secret", transient=False, **knows)


@pytest.mark.parametrize(
    ("refusal", "stands_for"),
    [
        (final(), 30.0),
        (TokenAcquisitionError("outage", transient=True), 2.0),
        (TokenAcquisitionError("busy", transient=True, retry_after=20), 20.0),
        (TokenAcquisitionError("busy", transient=True, retry_after=1e9), 60.0),
    ],
)
def test_stands_for(clock, cooldown, refusal, stands_for):
    """A refusal stands until it has cooled down, to the tick; a transient one only briefly."""
    ends_at = clock.monotonic() + stands_for
    cooldown.note("api", refusal)
    clock.step(math.nextafter(ends_at, 0) - clock.monotonic())
    assert cooldown.refusal("api") is not None
    clock.step(ends_at - clock.monotonic())
    assert cooldown.refusal("api") is None


def test_each_caller_gets_an_error_of_its_own(cooldown):
    """The remembered error is copied for each caller."""
    refusal = final()
    cooldown.note("api", refusal)
    first, second = cooldown.refusal("api"), cooldown.refusal("api")
    assert str(first) == str(second) == "wrong secret"
    assert len({id(refusal), id(first), id(second)}) == 3


def test_names_do_not_share(cooldown):
    """The refusal of one name does not affect another, and can be forgotten."""
    cooldown.note("api", final())
    assert cooldown.refusal("other") is None
    cooldown.forget("api")
    cooldown.forget("unknown")
    assert cooldown.refusal("api") is None


def test_no_cooldown(clock):
    """A cooldown of zero remembers nothing."""
    cooldown = Cooldown(0.0, RetryPolicy(), clock)
    cooldown.note("api", final())
    assert cooldown.refusal("api") is None
