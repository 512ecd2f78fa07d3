"""Refusals that are remembered for a while."""

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
    """A refusal stands until it has cooled down, to the tick; a passing one not for long."""
    ends_at = clock.monotonic() + stands_for
    cooldown.note("api", refusal)
    clock.step(math.nextafter(ends_at, 0) - clock.monotonic())
    with pytest.raises(TokenAcquisitionError):
        cooldown.check("api")
    clock.step(ends_at - clock.monotonic())
    cooldown.check("api")


def test_each_caller_gets_an_error_of_its_own(cooldown):
    """The remembered error is copied for each caller."""
    refusal = final()
    cooldown.note("api", refusal)
    for _ in range(2):
        with pytest.raises(TokenAcquisitionError, match="wrong secret") as caught:
            cooldown.check("api")
        assert caught.value is not refusal


def test_names_do_not_share(cooldown):
    """One name's refusal is no other's, and may be forgotten."""
    cooldown.note("api", final())
    cooldown.check("other")
    cooldown.forget("api")
    cooldown.forget("unknown")
    cooldown.check("api")


def test_no_cooldown(clock):
    """A cooldown of zero remembers nothing."""
    cooldown = Cooldown(0.0, RetryPolicy(), clock)
    cooldown.note("api", final())
    cooldown.check("api")
