"""Look: a token that another process requested is taken over, with the deadlines of its life."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from kit import internals
from kit.stores import FleetProvider, renew_when_due

from tokenkeeper.events import TokenAdopted, TokenRenewed


def of_kind(keeper, kind):
    """Return the events of *kind* so far."""
    return [event for event in keeper.events.events if isinstance(event, kind)]


class TestOneRequest:
    """One process requests a token, and the others take it over."""

    def test_for_all(self, fleet, server):
        """Sixteen processes that start one after the other make one request."""
        keepers = fleet.several(16)
        assert [keeper.get_token("api") for keeper in keepers] == ["token-1"] * 16
        assert server.requests == 1

    def test_at_each_renewal(self, fleet, clock, server):
        """Each renewal of a fleet is one request, whichever of them is due first."""
        keepers = fleet.several(4)
        for number in range(1, 6):
            assert {keeper.get_token("api") for keeper in keepers} == {f"token-{number}"}
            for keeper in keepers:
                renew_when_due(keeper, clock)
        assert server.requests == 6

    def test_after_a_suspend(self, fleet, clock, server):
        """Processes that wake up together with an expired token make one request."""
        keepers = fleet.several(8)
        for keeper in keepers:
            keeper.get_token("api")
        clock.step(8 * 3600)
        assert {keeper.get_token("api") for keeper in keepers} == {"token-2"}
        assert server.requests == 2

    def test_says_where_it_comes_from(self, fleet, clock):
        """An adopted token is an event and a diagnosis of its own, with age, number and origin."""
        first, second = fleet.several(2)
        first.get_token("api")
        clock.step(100)
        second.get_token("api")
        (event,) = of_kind(second, TokenAdopted)
        assert (event.age_seconds, event.remaining_seconds) == (100, 3500)
        assert (event.generation, event.granted_to) == (1, "host:1")
        assert not of_kind(first, TokenAdopted)
        info = second.get_cached_token_info("api")
        assert (info["generation"], info["granted_to"]) == (1, "host:1")
        assert first.get_cached_token_info("api")["granted_to"] is None

    def test_of_its_own_name_only(self, fleet, server):
        """Two providers of one client are two tokens, each with a record of its own."""
        keeper = fleet.keeper()
        keeper.add_provider(FleetProvider(server, "other"))
        assert keeper.get_token("api") != keeper.get_token("other")
        assert len(set(fleet.store.keys())) == 2


class TestWholeLife:
    """Deadlines are those of the token's whole life."""

    def test_late_in_its_life(self, fleet, clock):
        """A token adopted at 3,100 of 3,600 s has the deadlines of its requester."""
        first = fleet.keeper()
        first.get_token("api")
        clock.step(3100)
        second = fleet.keeper()
        second.get_token("api")
        one, two = internals.cached(first), internals.cached(second)
        for deadline in ("requested_at", "renew_at", "stale_at", "dead_at", "ends_at"):
            assert getattr(two, deadline) == pytest.approx(getattr(one, deadline), abs=1e-3)
        assert two.ends_at - two.renew_at == pytest.approx(390)

    def test_jitter_is_its_own(self, fleet, clock):
        """Only jitter tells the moments of renewal apart, so that a fleet is spread."""
        first = fleet.keeper(jitter=0.0)
        first.get_token("api")
        second = fleet.keeper(jitter=1.0)
        second.get_token("api")
        ahead = internals.cached(first).renew_at - internals.cached(second).renew_at
        assert ahead == pytest.approx(60, abs=1e-3)

    def test_refresh_at_counts_from_the_request(self, fleet, clock, server):
        """Where the server wants a token renewed early, an adopter renews it at the same moment."""

        class Early(FleetProvider):
            def acquire_token(self):
                token = super().acquire_token()
                return replace(token, refresh_at=token.expires_at - timedelta(seconds=2600))

            def describe(self):
                return {"type": "fleet"}

        first = fleet.keeper(provider=Early(server))
        first.get_token("api")
        clock.step(300)
        second = fleet.keeper(provider=Early(server))
        second.get_token("api")
        expected = internals.cached(first).renew_at
        assert internals.cached(second).renew_at == pytest.approx(expected, abs=1e-3)
        assert expected < internals.cached(first).stale_at - 2000

    def test_never_a_dead_one(self, fleet, clock, server):
        """A token that has expired in the store is replaced, to the last tick."""
        first = fleet.keeper()
        first.get_token("api")
        clock.step(internals.cached(first).dead_at - clock.monotonic())
        assert fleet.keeper().get_token("api") == "token-2"
        assert server.requests == 2

    @pytest.mark.parametrize("lifetime", [math.nan, -5.0, 0.0, -math.inf])
    def test_invalid_lifetime(self, fleet, store, server, lifetime):
        """A record whose lifetime is not one is never served."""
        fleet.keeper().get_token("api")
        store.entry.lifetime_seconds = lifetime
        assert fleet.keeper().get_token("api") == "token-2"

    @pytest.mark.parametrize("lifetime", [1e300, math.inf])
    def test_huge_lifetime(self, fleet, clock, store, lifetime):
        """A record can't make a token live longer than the token itself says."""
        first = fleet.keeper()
        first.get_token("api")
        store.entry.lifetime_seconds = lifetime
        second = fleet.keeper()
        second.get_token("api")
        ends_at = internals.cached(first).ends_at
        assert internals.cached(second).ends_at == pytest.approx(ends_at, abs=1e-3)

    @pytest.mark.parametrize("age", [math.nan, math.inf])
    def test_invalid_age(self, fleet, store, age):
        """A record whose age is not one is never served."""
        fleet.keeper().get_token("api")
        store.distort = lambda record: replace(record, age_seconds=age)
        assert fleet.keeper().get_token("api") == "token-2"

    @pytest.mark.parametrize("age", [-7200.0, 0.0])
    def test_age_of_a_store_that_was_set_back(self, fleet, clock, store, age):
        """If a store says that a token was requested later than now, the writer's clock counts."""
        first = fleet.keeper()
        first.get_token("api")
        clock.step(3000)
        store.distort = lambda record: replace(record, age_seconds=age)
        second = fleet.keeper()
        second.get_token("api")
        ends_at = internals.cached(first).ends_at
        assert internals.cached(second).ends_at == pytest.approx(ends_at, abs=1e-3)


class TestWhichOneIsBetter:
    """A renewal keeps what it has where that is worth more."""

    def test_own_token_outlives_the_stored_one(self, fleet, clock, store, server):
        """A token that was requested without the store is not exchanged for an older one."""
        first = fleet.keeper()
        first.get_token("api")
        clock.step(1000)
        store.go_down()
        second = fleet.keeper()
        assert second.get_token("api") == "token-2"
        store.come_back()
        server.error = ConnectionError("down")
        clock.step(2100)  # token-1 has 490 s left to be served, and token-2 is not due yet
        internals.reconsider(second)
        assert second.get_token("api") == "token-2"
        clock.step(1000)
        assert second.get_token("api") == "token-2"

    def test_renewed_meanwhile(self, fleet, clock, server):
        """A process that is due finds the newer token, and makes no request."""
        first, second = fleet.several(2)
        first.get_token("api")
        second.get_token("api")
        renew_when_due(first, clock)
        internals.look(second)
        assert server.requests == 2
        assert not of_kind(second, TokenRenewed)
        assert second.get_token("api") == "token-2"
