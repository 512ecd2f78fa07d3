"""The fleet's requests and new tokens of the last hour, counted from generations and fences."""

import pytest
from kit.stored import fill

from tokenkeeper.dashboard.history import History, Tally
from tokenkeeper.stores.overview import overview


@pytest.fixture
def history():
    """Return a history that has seen nothing."""
    return History()


@pytest.fixture
def observe(history, fleet, clock):
    """Return a function that lets time pass, and shows the store to the history."""

    def observe(seconds=0.0):
        clock.step(seconds)
        return history.observe(overview(fleet.settings, clock), clock.monotonic())

    return observe


def test_what_was_there_before_is_not_counted(fleet, observe):
    """The first overview is where counting begins."""
    fill(fleet)
    trend = observe()
    assert (trend.fleet, trend.by_key, trend.seconds) == (Tally(), {}, 0)


def test_one_request_for_one_need(fleet, observe):
    """A claim and a new token are a request and a token, of the record and of the fleet."""
    key = fleet.token("billing")
    observe()
    fleet.token("billing")
    new = fleet.token("crm")
    trend = observe(2)
    assert trend.fleet == Tally(2, 2)
    assert trend.by_key == {key: Tally(1, 1), new: Tally(1, 1)}
    assert trend.seconds == 2
    assert observe(2).fleet == Tally(2, 2)


def test_requests_that_fail(fleet, observe):
    """A failure is a request without a token."""
    observe()
    for _ in range(3):
        fleet.failure("billing", "no")
    assert observe(2).fleet == Tally(3, 0)


def test_a_forgotten_token_is_not_a_new_one(fleet, observe):
    """The generation of a forgotten token grows, but there is no new token."""
    key = fleet.token("billing")
    observe()
    fleet.store.forget(key)
    assert observe(2).fleet == Tally()


def test_a_record_that_was_created_again(fleet, observe):
    """Smaller numbers than before count as nothing, and are where counting goes on."""
    key = fleet.token("billing")
    fleet.token("billing")
    observe()
    fleet.store.forget(key, entirely=True)
    fleet.token("billing")
    assert observe(2).fleet == Tally()
    fleet.token("billing")
    assert observe(2).fleet == Tally(1, 1)


def test_a_store_that_lost_its_records(fleet, observe):
    """A record that comes back with the generation of a keeper had one request and one token."""
    for _ in range(4):
        key = fleet.token("billing")
    observe()
    before = fleet.store.read(key)
    fleet.store.forget(key, entirely=True)
    observe(2)
    fleet.claim(key, owner="a keeper that remembers")
    fleet.store.publish(
        key,
        owner="a keeper that remembers",
        replaces=0,
        generation=before.generation + 1,
        sealed=before.sealed,
        lifetime_seconds=3600.0,
        age_seconds=0.0,
        keep=False,
    )
    assert observe(2).fleet == Tally(1, 1)


def test_records_that_were_left_out(fleet, history, clock):
    """A record that is shown because another one is gone counts from then on."""

    def observe():
        clock.step(2)
        return history.observe(overview(fleet.settings, clock, limit=1), clock.monotonic())

    (first, _), (_, other) = sorted((fleet.key(name), name) for name in ("billing", "crm"))
    for name in ("billing", "billing", "crm", "crm"):
        fleet.token(name)
    observe()
    fleet.store.forget(first, entirely=True)
    assert observe().fleet == Tally()
    fleet.token(other)
    assert observe().fleet == Tally(1, 1)


def test_an_hour(fleet, observe):
    """What happened more than an hour ago is forgotten, minute by minute."""
    observe()
    for _ in range(200):
        fleet.token("billing")
        trend = observe(60)
    assert (len(trend.minutes), trend.seconds) == (60, 3600)
    assert trend.fleet.requests == trend.fleet.tokens == pytest.approx(60, abs=1)
    assert trend.minutes[-2] == Tally(1, 1)


def test_minutes_without_viewers(fleet, observe):
    """What happened while no page was open is spread over that time."""
    observe()
    for _ in range(8):
        fleet.token("billing")
    trend = observe(180)
    assert trend.minutes == 4 * (Tally(2, 2),)
    assert trend.fleet == Tally(8, 8)


def test_a_night_without_viewers(fleet, observe):
    """A gap of many hours leaves an hour, and no more."""
    observe()
    for _ in range(120):
        fleet.token("billing")
    trend = observe(12 * 3600)
    assert len(trend.minutes) == 60
    assert trend.fleet.requests == pytest.approx(120)


def test_removed_records(fleet, observe):
    """A record that is gone is counted for the fleet only."""
    observe()
    key = fleet.token("billing")
    assert observe(2).by_key == {key: Tally(1, 1)}
    fleet.store.forget(key, entirely=True)
    trend = observe(2)
    assert (trend.by_key, trend.fleet) == ({}, Tally(1, 1))


def test_the_page_shows_it(app, fleet, fetch, clock):
    """The page has requests per need, of the fleet with a column for each minute, and per token."""
    fleet.token("billing")
    page = fetch(app, "/data.json").json()["shown"]["page"]
    assert page["trend"] == "Counting requests and new tokens from now on"
    assert page["trend_requests"] == ""
    for _ in range(4):
        fleet.token("billing")
    fleet.failure("billing", "no")
    clock.step(65)
    found = fetch(app, "/data.json").json()
    page = found["shown"]["page"]
    assert page["trend"] == (
        "1.25 requests per need: 5 requests for 4 new tokens in the last 1 min 05 s"
    )
    assert page["trend_requests"].count("M") == 2
    assert found["shown"]["records"][0]["requests"] == "5 for 4"
    assert found["trend"] == {"seconds": 65, "requests": 5, "tokens": 4}
