"""The rows of ``status`` and ``watch`` during a token's life."""

from io import StringIO

import pytest
from kit.stored import StoredFleet
from rich.console import Console

from tokenkeeper.cli import rows
from tokenkeeper.stores.overview import record_view
from tokenkeeper.testing import SteppedClock

WELL = {"last_error": None, "last_failure_at": None}


@pytest.fixture
def fleet(monkeypatch):
    """Return a store on a clock that the rows use as well."""
    fleet = StoredFleet(clock=SteppedClock())
    monkeypatch.setattr(rows, "SYSTEM_CLOCK", fleet.clock)
    return fleet


def view(fleet, key):
    return record_view(key, fleet.store.read(key), fleet.sealer, fleet.clock.time())


def shown(row, width=80):
    """Return what a screen shows of a row."""
    screen = Console(file=StringIO(), width=width)
    screen.print(rows.as_table([row], width))
    return screen.file.getvalue()


@pytest.mark.parametrize(
    ("age", "state", "renews_in"),
    [(0, "fresh", 3240), (3299, "fresh", 0), (3301, "renewing", 0), (3595, "expired", None)],
)
def test_a_life(fleet, age, state, renews_in):
    """State, remaining time and next renewal are computed from the whole lifetime."""
    key = fleet.token("api")
    fleet.clock.step(age)
    row = rows.row_of_record("api", view(fleet, key))
    assert (row.state, row.remaining_seconds) == (state, 3600 - age)
    assert row.renews_in_seconds == renews_in
    assert (row.generation, row.granted_to) == (1, "web-1:4711")


def test_no_token(fleet):
    """Without a record, or with a failure alone, no token is held."""
    assert rows.row_of_record("api", view(fleet, "a")).state == "not held"
    row = rows.row_of_record("api", view(fleet, fleet.failure("api", "down")))
    assert (row.state, row.last_error) == ("not held", "down")


def test_what_can_not_be_read(fleet):
    """A record that can't be read is shown with the reason."""
    row = rows.row_of_record("api", view(fleet, fleet.sealed("a", b"1.k0." + bytes(80))))
    assert row.state == "unreadable"
    assert "key 'k0'" in row.last_error


def test_a_failure(fleet):
    """A stored failure is shown with its age."""
    fleet.token("api")
    key = fleet.failure("api", "noted")
    fleet.clock.step(61)
    row = rows.row_of_record("api", view(fleet, key))
    assert "last failure, 1 min 01 s ago: noted\n" in shown(row)


def test_a_keeper_that_stays():
    """The next renewal is the keeper's; an expired token has none. Its own failure is shown."""
    info = {
        "state": "fresh",
        "remaining_seconds": 99.0,
        "renews_in_seconds": 46.0,
        "generation": 7,
        "granted_to": "web-2:8",
    }
    row = rows.row_of_keeper("api", info, WELL)
    assert (row.renews_in_seconds, row.generation, row.granted_to) == (46.0, 7, "web-2:8")
    expired = {**info, "state": "expired", "remaining_seconds": -1.0}
    health = {"last_error": "told", "last_failure_at": "2026-01-01T00:00:00+00:00"}
    row = rows.row_of_keeper("api", expired, health)
    assert (row.renews_in_seconds, row.remaining_seconds) == (None, 0.0)
    assert (row.last_error, row.last_failure_at) == tuple(health.values())


@pytest.mark.parametrize("width", [50, 80, 120])
def test_where_a_token_comes_from(fleet, width):
    """Generation and origin are shown where there is room; the holder of a claim always is."""
    key = fleet.token("api")
    fleet.claim(key)
    text = shown(rows.row_of_record("api", view(fleet, key)), width)
    assert ("granted to" in text) == (width == 120)
    assert "claimed, 0 s ago: web-1:4711 is about to" in " ".join(text.split())
