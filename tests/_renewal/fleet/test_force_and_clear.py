"""Callers that ask for a new token, report a rejected one, or clear it, in a fleet."""

import pytest
from kit import internals
from kit.crowds import crowd
from kit.guards import until

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.events import TokenAdopted


class TestForceRefresh:
    """force_refresh returns a token that was requested after the call began."""

    def test_not_one_from_before(self, fleet, clock, server):
        """An adopted token that was requested before the call is never returned."""
        first, second = fleet.several(2)
        first.get_token("api")
        clock.step(1)
        assert second.get_token("api", force_refresh=True) == "token-2"
        assert server.requests == 2

    def test_one_of_another_process_from_after(self, fleet, clock, store, server):
        """A token that another process requested after the call began will do."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")

        def another():
            clock.step(1)
            first.get_token("api", force_refresh=True)

        store.before["claim"] = another
        assert second.get_token("api", force_refresh=True) == "token-2"
        assert server.requests == 2

    def test_one_that_was_asked_for_before_is_not_enough(self, fleet, clock, store, server):
        """One whose request was sent before the call does not do, though it was published after."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        clock.step(1)
        found = []

        def second_forces():
            clock.step(1)
            with pytest.raises(TokenAcquisitionError):
                second.get_token("api", force_refresh=True, timeout=0.0)

        server.during = second_forces
        first.get_token("api", force_refresh=True)
        found.append(second.get_token("api", force_refresh=True))
        assert found == ["token-3"]

    def test_sixteen_at_once(self, threaded, patient):
        """Each of sixteen processes that force at once gets a token from after its call."""
        keepers = threaded.several(16, threads=True)
        first = keepers[0]
        assert first.get_token("api") == "token-1"
        patient.step(1)
        before = threaded.server.requests
        pending = iter(keepers)
        callers = crowd(16, lambda: next(pending).get_token("api", force_refresh=True))
        until(lambda: patient.step(0.01) or all(callers.results), "sixteen tokens")
        results = callers.join()
        assert "token-1" not in results
        assert all(isinstance(token, str) for token in results)
        assert 1 <= threaded.server.requests - before <= 16

    def test_callers_that_join(self, threaded, patient):
        """Callers that asked before the adopted token was requested share it."""
        keeper = threaded.keeper(threads=True)
        other = threaded.keeper()
        for each in (keeper, other):
            each.get_token("api")
        patient.step(1)
        store, seen = threaded.store, []

        def another():
            until(lambda: internals.threads_waiting(keeper) == 3, "three callers")
            patient.step(1)
            seen.append(other.get_token("api", force_refresh=True))

        store.before["read"] = another
        callers = crowd(3, lambda: keeper.get_token("api", force_refresh=True))
        assert set(callers.join()) <= {"token-2", "token-3"}
        assert seen == ["token-2"]


class TestRejected:
    """renew_refused: an API rejected a token that the fleet shares."""

    def test_sixteen_at_once(self, fleet, clock, server):
        """A 401 that sixteen processes meet is one request."""
        keepers = fleet.several(16)
        for keeper in keepers:
            keeper.get_token("api")
        clock.step(60)
        tokens = {keeper.renew_refused("api", "token-1") for keeper in keepers}
        assert tokens == {"token-2"}
        assert server.requests == 2

    def test_really_at_once(self, threaded, patient):
        """The same with sixteen threads that start together."""
        keepers = threaded.several(16, threads=True)
        for keeper in keepers:
            keeper.get_token("api")
        patient.step(60)
        pending = iter(keepers)
        callers = crowd(16, lambda: next(pending).renew_refused("api", "token-1"))
        until(lambda: patient.step(0.02) or all(callers.results), "sixteen tokens")
        assert set(callers.join()) == {"token-2"}
        assert threaded.server.requests == 2

    def test_store_has_the_rejected_one(self, fleet, clock, store, server):
        """The rejected token is not adopted from the store, whatever number it has there."""
        first, second = fleet.several(2)
        first.get_token("api")
        second.get_token("api")
        store.entry.generation = 7
        clock.step(60)
        assert second.renew_refused("api", "token-1") == "token-2"
        assert server.requests == 2

    def test_adopts_what_replaced_it(self, fleet, clock, server):
        """A process whose token was rejected takes over the newer one, and makes no request."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        first.get_token("api", force_refresh=True)
        assert second.renew_refused("api", "token-1") == "token-2"
        assert server.requests == 2
        assert any(isinstance(event, TokenAdopted) for event in second.events.events)


class TestClear:
    """clear_token leaves a tombstone."""

    def test_nobody_gets_it_again(self, fleet, clock, server):
        """A cleared token is requested again, and not adopted from the store."""
        first, second = fleet.several(2)
        first.get_token("api")
        clock.step(1)
        first.clear_token("api")
        assert second.get_token("api") == "token-2"
        assert first.get_token("api") == "token-2"
        assert server.requests == 2

    def test_others_go_on_and_do_not_restore_it(self, fleet, clock, store, server):
        """Others serve it from memory while it is valid, and never put it back."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        clock.step(1)
        first.clear_token()
        assert second.get_token("api") == "token-1"
        clock.step(internals.cached(second).renew_at - clock.monotonic())
        internals.look(second)
        assert second.get_token("api") == "token-2"
        assert store.record.generation == 3

    def test_while_the_store_is_down(self, fleet, clock, store, server):
        """If the store can't be used, this process still never serves the cleared token again."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        clock.step(1)
        store.go_down()
        keeper.clear_token("api")
        store.come_back()
        clock.step(10)
        assert keeper.get_token("api") == "token-2"

    def test_even_after_a_request_that_was_under_way(self, fleet, clock, store, server):
        """A renewal that began before does not make the cleared token acceptable."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        clock.step(10)

        def clear():
            store.go_down("forget")
            clock.step(1)
            keeper.clear_token("api")
            clock.step(10)
            store.failing = frozenset({"publish"})

        server.during = clear
        keeper.get_token("api", force_refresh=True)
        store.come_back()
        clock.step(10)
        assert keeper.get_token("api") == "token-3"

    def test_during_a_request(self, fleet, clock, store, server):
        """What a request under way brings is not stored, and its claim is released."""
        keeper, other = fleet.several(2)
        keeper.get_token("api")
        clock.step(1)
        server.during = other.clear_token
        assert keeper.get_token("api", force_refresh=True) == "token-2"
        assert store.record.sealed is None
        assert not store.record.is_claimed
        began = clock.monotonic()
        assert other.get_token("api") == "token-3"
        assert clock.monotonic() == began

    def test_is_adopted_again_once_it_is_new(self, fleet, clock, server):
        """After a clear, a token that another process requests later is adopted as ever."""
        first, second = fleet.several(2)
        first.get_token("api")
        clock.step(1)
        first.clear_token("api")
        clock.step(1)
        second.get_token("api")
        assert first.get_token("api") == "token-2"
        assert server.requests == 2

    def test_failures_too(self, fleet, clock, server):
        """Clearing forgets a shared refusal, so that a new secret counts at once."""
        server.error = TokenAcquisitionError("no", error="invalid_client")
        first, second = fleet.several(2)
        with pytest.raises(TokenAcquisitionError):
            first.get_token("api")
        server.error = None
        first.clear_token()
        assert second.get_token("api") == "token-2"


class TestChangedProvider:
    """After a reload, what failed before does not count."""

    def refuse(self, fleet, clock, server):
        """Return two keepers with a valid token whose renewal was refused."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        server.error = TokenAcquisitionError("no", error="invalid_client", transient=False)
        clock.step(internals.cached(first).renew_at - clock.monotonic())
        internals.look(first)
        server.error = None
        clock.step(1)
        return first, second

    def test_reconsidered(self, fleet, clock, server):
        """A changed provider makes its request although the fleet was refused just now."""
        _, second = self.refuse(fleet, clock, server)
        internals.reconsider(second)
        assert second.get_token("api") == "token-3"

    def test_not_reconsidered(self, fleet, clock, server):
        """An unchanged one is spared the request."""
        _, second = self.refuse(fleet, clock, server)
        internals.look(second)
        assert server.requests == 2
        assert second.get_token("api") == "token-1"

    def test_failures_from_afterwards_count(self, fleet, clock, store, server):
        """A refusal that another process met after the change counts for all."""
        first, second = self.refuse(fleet, clock, server)
        server.error = TokenAcquisitionError("no", error="invalid_client", transient=False)

        def another():
            clock.step(1)
            internals.reconsider(first)

        store.before["read"] = another
        internals.reconsider(second)
        assert server.requests == 3
