"""Claim: one process asks, and the others look again without parking a worker."""

import pytest
from kit import internals
from kit.crowds import crowd
from kit.guards import until
from kit.stores import FleetProvider, Server, leave_claim, renew_when_due

from tokenkeeper.events import TokenRenewed


class TestScheduled:
    """A renewal in the background whose token another process requests."""

    def test_is_put_off(self, fleet, clock, store, server):
        """It ends at once and is scheduled again a moment later: no worker waits."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        seen = []

        def second_is_due():
            before = clock.monotonic()
            assert internals.look(second) == ["api"]
            waited = clock.monotonic() - before
            seen.append((waited, internals.flight(second), second.get_token("api")))
            seen.append(internals.next_due(second) - clock.monotonic())

        server.during = second_is_due
        renew_when_due(first, clock)
        assert seen[0] == (0.0, None, "token-1")
        assert seen[1] == pytest.approx(0.02)
        clock.step(0.02)
        internals.look(second)
        assert second.get_token("api") == "token-2"
        assert server.requests == 2

    def test_failure_of_nobody(self, fleet, clock, server):
        """Being put off is neither a failure nor an event."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        second.events.events.clear()
        server.during = lambda: internals.look(second)
        renew_when_due(first, clock)
        assert second.health()["status"] == "ok"
        assert second.get_cached_token_info("api")["failures"] == 0
        kinds = {type(event).__name__ for event in second.events.events}
        assert kinds == {"TokenAdopted"}

    def test_cleared_while_it_is_put_off(self, fleet, clock, store, server):
        """If its token is forgotten in between, the renewal ends with an error that says why."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        flights = []

        def clear():
            flights.append(internals.flight(second))
            second.clear_token("api")

        def second_is_due():
            store.after["claim"] = clear
            internals.look(second)

        server.during = second_is_due
        renew_when_due(first, clock)
        assert flights[0].result().access_token == "token-1"
        assert not internals.is_scheduled(second)

    def test_the_longer_it_takes_the_rarer_it_looks(self, fleet, clock, server):
        """The wait between two looks is half of what the other process took so far."""
        first, second = fleet.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        waits = []

        def second_looks():
            for _ in range(12):
                internals.look(second)
                waits.append(internals.next_due(second) - clock.monotonic())
                clock.step(waits[-1])

        server.during = second_looks
        renew_when_due(first, clock)
        assert waits[:2] == pytest.approx([0.02, 0.02])
        assert waits == sorted(waits)
        assert waits[-1] == 0.25


class TestCallers:
    """A caller without a valid token."""

    def test_waits_and_gets_the_other_one_s(self, threaded, patient):
        """It waits for the process that asks, looking again and again, and makes no request."""
        gate = threaded.store
        holder, waiter = threaded.several(2, threads=True)
        started = []

        def hold():
            started.append(crowd(1, lambda: waiter.get_token("api")))
            until(lambda: gate.calls.count("claim") == 2, "the other one's claim")
            for _ in range(3):
                looks = gate.calls.count("read")
                until(lambda: patient.waiting, "the wait")
                patient.step(0.3)
                until(lambda looks=looks: gate.calls.count("read") > looks, "another look")

        threaded.server.during = hold
        assert holder.get_token("api") == "token-1"
        until(lambda: patient.step(0.3) or internals.cached(waiter), "the adoption")
        assert started[0].join() == ["token-1"]
        assert threaded.server.requests == 1

    def test_all_cold_at_once(self, threaded, patient):
        """Of sixteen processes that start together, one makes a request."""
        keepers = threaded.several(16, threads=True)
        pending = iter(keepers)
        callers = crowd(16, lambda: next(pending).get_token("api"))
        until(
            lambda: patient.step(0.02) or all(map(internals.cached, keepers)),
            "sixteen tokens",
        )
        assert set(callers.join()) == {"token-1"}
        assert threaded.server.requests == 1

    def test_own_timeout(self, threaded, patient):
        """A caller's timeout counts while it waits for another process."""
        keeper = threaded.keeper(threads=True)
        leave_claim(threaded)
        caller = crowd(1, lambda: keeper.get_token("api", timeout=1.0))
        until(lambda: patient.step(0.1) or caller.results[0], "the timeout")
        assert "within the timeout" in str(caller.join()[0])
        assert threaded.server.requests == 0

    def test_close_ends_the_wait(self, threaded, patient):
        """Closing the keeper ends the wait for another process."""
        keeper = threaded.keeper(threads=True)
        leave_claim(threaded)
        caller = crowd(1, lambda: keeper.get_token("api"))
        until(lambda: patient.waiting, "the wait")
        keeper.close()
        assert "closed" in str(caller.join()[0])

    def test_lost_races_end(self, fleet, clock, store):
        """A record that changes between each look and claim is looked at again a moment later."""
        keeper = fleet.keeper()
        key = internals.record_key(keeper)

        changes = iter(range(7))

        def publish_another():
            number = next(changes, None)
            if number is not None:
                store.put(key, number, b"0.token.{}")
                store.before["claim"] = publish_another

        store.before["claim"] = publish_another
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert store.calls.count("claim") == 8
        assert clock.monotonic() == began + 0.02


def test_server_is_asked_without_a_lock(fleet, store, server):
    """While the server is asked, every operation of the store works for others."""
    keeper = fleet.keeper()
    keeper.add_provider(FleetProvider(Server(fleet.clock), "other"))
    server.during = lambda: keeper.get_token("other")
    assert keeper.get_token("api") == "token-1"
    assert [type(each) for each in keeper.events.events if isinstance(each, TokenRenewed)] == []
