"""What the page says: durations, deadlines, and what needs attention."""

import math

import pytest

from tokenkeeper.dashboard.history import Tally, Trend
from tokenkeeper.dashboard.snapshots import Snapshot
from tokenkeeper.dashboard.words import duration, page_texts, record_texts
from tokenkeeper.schedule import deadlines
from tokenkeeper.stores.overview import overview
from tokenkeeper.stores.views import RecordView


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (61, "1 min 01 s"),
        (599, "9 min 59 s"),
        (600, "10 min"),
        (659, "10 min"),
        (3599.995, "1 h"),
        (3660, "1 h 01 min"),
        (86400, "1 d"),
        (90000, "1 d 1 h"),
        (1e300, "more than 100 years"),
    ],
)
def test_durations(seconds, words):
    """A duration has its largest unit, and a second one where that matters."""
    assert duration(seconds) == words


@pytest.fixture
def shown(fleet, clock):
    """Return a function that returns the texts of the store's one record."""

    def shown():
        (record,) = overview(fleet.settings, clock).records
        return record_texts(record, Snapshot(read_at_wall=clock.time()))

    return shown


@pytest.mark.parametrize(
    ("age", "life", "renewal"),
    [
        (0, "1 h of 1 h left", "renewal in 54 min"),
        (3235, "6 min 05 s of 1 h left", "renewal in 5 s"),
        (3240, "6 min of 1 h left", "renewal is due"),
        (3595, "no longer used, expires in 5 s", ""),
        (3605, "expired 5 s ago after 1 h", ""),
        (math.inf, "lifetime 1 h, age unknown because the store's clock was restarted", ""),
    ],
)
def test_a_life(fleet, shown, age, life, renewal):
    """A life has what is left of it, and when it is renewed."""
    fleet.token("billing", age=age, wall_age=0 if age == math.inf else None)
    texts = shown()
    assert (texts["life"], texts["renewal"]) == (life, renewal)
    assert texts["bar_label"] == f"{texts['state']}, {life}"


@pytest.mark.parametrize("lifetime", [0.5, 3, 60, 3600, 86_400, 10 * 365 * 86_400])
@pytest.mark.parametrize("share", [0, 0.5, 0.99, 1, 5])
def test_a_bar(fleet, shown, lifetime, share):
    """The zones of a bar fill it without gaps, the last one can be seen, and so can the marker."""
    fleet.token("billing", lifetime=lifetime, age=lifetime * share)
    texts = {name: text for name, text in shown().items() if text.isdecimal()}
    fresh, buffer, margin = (
        int(texts[name]) for name in ("fresh_width", "buffer_width", "margin_width")
    )
    assert fresh + buffer + margin == 1000
    assert int(texts["buffer_x"]) == fresh
    assert int(texts["margin_x"]) == fresh + buffer
    assert margin >= 6
    assert 0 <= int(texts["now_x"]) <= 994


def test_a_life_without_length(clock):
    """A damaged lifetime, of almost nothing, has a bar too."""
    view = RecordView(
        key="a",
        state="expired",
        lifetime_seconds=5e-324,
        age_seconds=3600.0,
        remaining_seconds=-3600.0,
        deadlines=deadlines(0.0, 5e-324, 300.0, 0.0),
    )
    texts = record_texts(view, Snapshot())
    assert (texts["past"], texts["now_x"]) == ("1000", "994")


def test_when_it_was_renewed(fleet, clock, shown):
    """The time of the last renewal is there as a time too, for comparison with logs."""
    fleet.token("billing", age=3000, granted_to="web-1:4711")
    texts = shown()
    assert (texts["renewed"], texts["renewed_by"]) == ("50 min ago", "by web-1:4711")
    assert texts["renewed_at"] == "2030-03-17 16:56:40 UTC"


def test_clocks_that_disagree(fleet, shown):
    """The page says by how much, and which age counts."""
    fleet.token("billing", age=10, wall_age=3610)
    assert shown()["clocks"] == (
        "Clocks disagree: by wall clocks the token is 1 h older than by the store's clock. "
        "The older age counts."
    )


def test_an_old_claim(fleet, clock, shown):
    """A claim that is older than a request can be says that it may be taken over."""
    fleet.claim(fleet.key("billing"), owner="abc", intent="")
    clock.step(40)
    assert shown()["claim"] == (
        "a process is about to request a token (claimed 40 s ago by abc). "
        "Another process may take over."
    )


def test_a_failure_that_no_longer_stands(fleet, clock, shown):
    """After the time that a failure stands, the page says that the fleet may ask again."""
    fleet.failure("billing", "no", stands=10, failures=1, reported_by="web-1:1")
    clock.step(11)
    assert shown()["failure_details"] == (
        "1 failure in a row, the last 11 s ago, reported by web-1:1. The fleet may ask again."
    )


@pytest.mark.parametrize("moment", [1e12, 1e300, -1e300])
def test_a_moment_that_no_calendar_has(fleet, clock, moment):
    """A token that is older than the calendar has no time of renewal."""
    texts = record_texts(RecordView(key="a", age_seconds=moment), Snapshot())
    assert texts["renewed_at"] == ""
    assert len(texts["renewed"]) < 30


def test_requests_without_tokens(fleet, clock):
    """Requests that brought no token have no ratio."""
    trend = Trend(120.0, Tally(3, 0), (Tally(1, 0), Tally(2, 0)))
    snapshot = Snapshot(overview(fleet.settings, clock), trend)
    texts = page_texts(snapshot, "Tokens")
    assert texts["trend"] == "3 requests and no new token in the last 2 min"
    assert texts["trend_requests"] == "M232 30v-15h3v15zM236 30v-30h3v30z"


@pytest.mark.parametrize(
    ("limit", "summary", "totals"),
    [(1, "No problems shown", "1 of 2 records"), (2, "No problems", "2 records")],
)
def test_no_problems(fleet, clock, limit, summary, totals):
    """A page that shows a part of the records says so, and claims nothing about the others."""
    for name in ("billing", "crm"):
        fleet.token(name)
    texts = page_texts(Snapshot(overview(fleet.settings, clock, limit=limit)), "Tokens")
    assert (texts["summary"], texts["totals"].partition(":")[0]) == (summary, totals)
