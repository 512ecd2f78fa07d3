"""The metrics of two keepers that share a store."""

import math
from datetime import UTC, datetime

import pytest
from integrations.fleet_story import FleetStory
from prometheus_client import generate_latest

from tokenkeeper.events import ClaimTakenOver, StoreRecovered, StoreUnavailable
from tokenkeeper.integrations.prometheus import PrometheusHook
from tokenkeeper.testing import MockProvider

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def fleet(registry, clock):
    hooks = [PrometheusHook(registry)]
    with FleetStory(clock, lambda: MockProvider("api", clock=clock), hooks) as fleet:
        yield fleet


@pytest.fixture
def of_store(registry):
    """Return a function that looks up one sample of the store."""
    labels = {"store": "redis://cache.example:6379/0"}
    return lambda name: registry.get_sample_value(f"tokenkeeper_{name}", labels)


def test_adopted(fleet, value, clock):
    """A token that is taken over is counted with its age and expiry, and as no request."""
    fleet.adopt()
    assert value("tokens_adopted_total") == 1
    assert value("tokens_granted_total", kind="acquired") == value("token_requests_total") == 0
    assert value("token_adoption_age_seconds_sum") == 10
    assert value("token_expiry_timestamp_seconds") == clock.time() + 3590
    assert value("token_consecutive_failures") == 0


def test_counters_are_there_before_they_count(fleet, value):
    """Counters of a fleet start at 0 with the first event, so that an event is an increase."""
    fleet.here.get_token("api")
    for name in ("tokens_adopted", "claims_taken_over", "records_replaced"):
        assert value(f"{name}_total") == 0
    assert value("store_seconds_count") is None


def test_taken_over(fleet, value):
    """A claim that is taken over is counted with its age."""
    fleet.adopt()
    fleet.take_over()
    assert value("claims_taken_over_total") == 1
    assert value("claim_age_seconds_sum") == 40


def test_a_claim_of_unknown_age(registry, value):
    """A claim whose age the store does not know is counted, without spoiling the sum."""
    event = ClaimTakenOver("api", NOW, claim_age_seconds=math.inf, intent="host:1 is about to ask")
    PrometheusHook(registry)(event)
    assert value("claims_taken_over_total") == 1
    assert value("claim_age_seconds_count") is None


def test_replaced(fleet, value):
    """A record that was replaced is counted."""
    fleet.adopt()
    fleet.replace()
    assert value("records_replaced_total") == 1


def test_clocks(fleet, value, clock):
    """The moment at which clocks were seen to differ is shown."""
    fleet.disagree()
    assert value("clocks_disagree_timestamp_seconds") == clock.time()


def test_the_store_s_outages(fleet, of_store):
    """A store is shown as unavailable until it is back, and the outage is counted."""
    fleet.adopt()
    assert of_store("store_unavailable") is None
    fleet.lose_store()
    assert (of_store("store_unavailable"), of_store("store_outages_total")) == (1, 1)
    fleet.find_store()
    assert (of_store("store_unavailable"), of_store("store_outages_total")) == (0, 1)


def test_time_in_the_store(fleet, value):
    """The time that a renewal spent in the store is measured, whatever came of it."""
    fleet.store.takes = 0.25
    fleet.adopt()
    assert value("store_seconds_sum") == 0.25
    fleet.step(4000)
    fleet.here.get_token("api")
    assert value("store_seconds_sum") == 0.5
    assert value("store_seconds_count") == 2


def test_many_stores(registry):
    """Stores beyond the limit are counted together, without a gauge that can't fit them all."""
    hook = PrometheusHook(registry, max_providers=2)
    for number in range(4):
        hook(StoreUnavailable("api", NOW, store=f"redis://{number}", reason="it is down"))
    recovered = StoreRecovered("api", NOW, store="redis://0", unavailable_seconds=9.0)
    hook(recovered)
    outages, gauge = "tokenkeeper_store_outages_total", "tokenkeeper_store_unavailable"
    assert registry.get_sample_value(outages, {"store": "_other"}) == 2
    assert registry.get_sample_value(gauge, {"store": "_other"}) is None
    assert registry.get_sample_value(gauge, {"store": "redis://0"}) == 0
    assert registry.get_sample_value(gauge, {"store": "redis://1"}) == 1


def test_a_removed_provider(fleet, value, registry):
    """Removing a provider removes its time series of a fleet."""
    fleet.store.takes = 0.25
    fleet.adopt()
    fleet.take_over()
    fleet.disagree()
    fleet.here.remove_provider("api")
    assert b'provider="api"' not in generate_latest(registry)


def test_no_label_names_a_process(fleet, registry):
    """No label names the process that holds or held a claim, or that requested a token."""
    fleet.adopt()
    place = fleet.here.get_cached_token_info("api")["granted_to"]
    assert place
    fleet.take_over(ghost="jane-laptop:77")
    page = generate_latest(registry).decode()
    assert "jane-laptop" not in page
    assert place not in page
