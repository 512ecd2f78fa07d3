"""The events that a renewal causes."""

from contextvars import Context
from datetime import UTC, datetime

import pytest

from tokenkeeper import TokenAcquisitionError
from tokenkeeper._renewal.cache import FailureOutcome
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper.events import AcquisitionFailed, CooledDown, ServedStale
from tokenkeeper.testing import SteppedClock

DOWN = TokenAcquisitionError("down")


@pytest.fixture
def renewal(source):
    return Renewal(source, None, Context(), after_rejection=False)


@pytest.mark.parametrize(
    ("outcome", "kinds"),
    [
        (FailureOutcome(), []),
        (FailureOutcome(remaining_seconds=0.5), [ServedStale]),
        (FailureOutcome(cooldown_seconds=0.5), [CooledDown]),
        (FailureOutcome(None, 0.5, 0.5), [ServedStale, CooledDown]),
    ],
)
def test_what_follows_from_a_failure(clock, renewal, outcome, kinds):
    """A failure is reported with what follows from it, however short that is."""
    failed, *others = renewal.failure_events(DOWN, outcome, clock)
    assert type(failed) is AcquisitionFailed
    assert [type(each) for each in others] == kinds


@pytest.mark.parametrize(("began", "took"), [(None, 0.0), (1000.0, 20.0), (0.0, 1020.0)])
def test_how_long_it_took(renewal, began, took):
    """A renewal that no thread started took no time."""
    clock = SteppedClock(monotonic=1020.0)
    renewal.started_at = began
    (failed,) = renewal.failure_events(DOWN, FailureOutcome(), clock)
    assert failed.duration_seconds == took
    assert failed.occurred_at == datetime.fromtimestamp(clock.time(), UTC)
