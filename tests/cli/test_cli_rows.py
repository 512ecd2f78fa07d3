"""The rows of ``status`` and ``watch`` during a token's life."""

from io import StringIO

import pytest
from rich.console import Console

from tokenkeeper.cli import rows
from tokenkeeper.cli.stored_provider import StoredTokenProvider
from tokenkeeper.testing import MockProvider, SteppedClock

WELL = {"last_error": None, "last_failure_at": None}


@pytest.fixture
def clock(monkeypatch):
    """Return the clock of rows and tokens."""
    clock = SteppedClock()
    monkeypatch.setattr(rows, "SYSTEM_CLOCK", clock)
    return clock


@pytest.fixture
def provider(clock):
    """Return a provider with a token that lives for an hour."""
    provider = StoredTokenProvider(
        MockProvider("api", clock=clock), None, lambda: "api", clock=clock
    )
    provider.acquire_token()
    return provider


@pytest.mark.parametrize(
    ("age", "state", "renews_in"),
    [(0, "fresh", 3240), (3299, "fresh", 0), (3301, "renewing", 0), (3595, "expired", None)],
)
def test_a_life(provider, clock, age, state, renews_in):
    """State, remaining time and next renewal are computed from the whole lifetime."""
    clock.step(age)
    row = rows.row_of(provider, WELL)
    assert (row.state, row.remaining_seconds) == (state, 3600 - age)
    assert row.renews_in_seconds == renews_in


def test_a_keeper_that_stays(provider, clock):
    """The next renewal is the keeper's; an expired token has none."""
    assert rows.row_of(provider, WELL, 46.0).renews_in_seconds == 46.0
    clock.step(3599)
    assert rows.row_of(provider, WELL, 46.0).renews_in_seconds is None


def test_a_failure(provider, clock):
    """A stored failure is shown with its age; the keeper's own takes precedence."""
    provider.note_failure("noted")
    clock.step(61)
    row = rows.row_of(provider, WELL)
    screen = Console(file=StringIO(), width=80)
    screen.print(rows.as_table([row], 80))
    assert "last failure, 1 min 01 s ago: noted\n" in screen.file.getvalue()
    health = {"last_error": "told", "last_failure_at": "2026-01-01T00:00:00+00:00"}
    row = rows.row_of(provider, health)
    assert (row.last_error, row.last_failure_at) == tuple(health.values())
