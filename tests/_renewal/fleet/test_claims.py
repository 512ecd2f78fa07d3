"""Claim: one process asks, and the others look again without parking a worker."""

import pytest
from kit import internals
from kit.crowds import crowd
from kit.guards import until
from kit.stores import FleetProvider, Server, renew_when_due

from tokenkeeper import RetryPolicy, TokenAcquisitionError
from tokenkeeper.events import ClaimTakenOver, TokenRenewed
from tokenkeeper.oauth.claims import is_claimed, last_look, may_send


def abandoned(fleet, claim_age=0.0, *, intent="host:9 is about to request a token"):
    """Leave a claim of a process that is gone, so many seconds old."""
    key = internals.record_key(fleet.keepers[0])
    generation = fleet.store.read(key).generation
    fleet.store.claim(
        key, owner="gone", generation=generation, older_than_seconds=0.0, intent=intent
    )
    fleet.clock.step(claim_age)


def takeovers(keeper):
    """Return the events of claims taken over."""
    return [event for event in keeper.events.events if isinstance(event, ClaimTakenOver)]


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
        abandoned(threaded)
        caller = crowd(1, lambda: keeper.get_token("api", timeout=1.0))
        until(lambda: patient.step(0.1) or caller.results[0], "the timeout")
        assert "within the timeout" in str(caller.join()[0])
        assert threaded.server.requests == 0

    def test_close_ends_the_wait(self, threaded, patient):
        """Closing the keeper ends the wait for another process."""
        keeper = threaded.keeper(threads=True)
        abandoned(threaded)
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


class TestTakeover:
    """The one who takes over says how old a claim must be."""

    @pytest.fixture
    def keeper(self, fleet):
        """Return a keeper without a token."""
        return fleet.keeper()

    def test_after_five_seconds_without_a_token(self, fleet, keeper, clock, server):
        """A caller with nothing valid takes over after 5 s, and not earlier."""
        abandoned(fleet)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert 5.0 <= clock.monotonic() - began < 5.5
        assert server.requests == 1

    def test_says_so(self, fleet, keeper):
        """A takeover is an event with the age of the claim and what its owner was about to do."""
        abandoned(fleet, 100)
        keeper.get_token("api")
        (event,) = takeovers(keeper)
        assert event.claim_age_seconds == 100
        assert event.intent == "host:9 is about to request a token"

    def test_after_35_seconds_with_a_token(self, fleet, keeper, clock, server):
        """A scheduled renewal takes over 5 s after the longest request, and not earlier."""
        keeper.get_token("api")
        clock.step(internals.cached(keeper).renew_at - clock.monotonic())
        abandoned(fleet, 34.9)
        internals.look(keeper)
        assert server.requests == 1
        clock.step(0.25)
        internals.look(keeper)
        assert server.requests == 2
        assert takeovers(keeper)[0].claim_age_seconds == pytest.approx(35.15)

    def test_a_provider_with_longer_requests(self, fleet, clock, server):
        """A provider whose requests may take longer gives others more time."""
        provider = FleetProvider(server)
        provider.longest_request_seconds = 100.0
        keeper = fleet.keeper(provider=provider)
        keeper.get_token("api")
        clock.step(internals.cached(keeper).renew_at - clock.monotonic())
        abandoned(fleet, 104)
        internals.look(keeper)
        assert server.requests == 1
        clock.step(1)
        internals.look(keeper)
        assert server.requests == 2

    def test_never_early_for_a_refresh_token_that_works_once(self, family, clock, strict):
        """Such a caller without a valid token waits for the whole 35 s, too."""
        keeper = family.keeper()
        abandoned(family)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert 35.0 <= clock.monotonic() - began < 35.5
        assert strict.requests == 1

    def test_one_takes_over(self, fleet, clock, server):
        """Of several that wait, one takes the claim over, and the others adopt what it gets."""
        keepers = fleet.several(4)
        abandoned(fleet, 6)
        assert {keeper.get_token("api") for keeper in keepers} == {"token-1"}
        assert sum(len(takeovers(keeper)) for keeper in keepers) == 1

    def test_nobody_goes_alone(self, fleet, clock, server):
        """A server that takes 30 s is asked by one process and one that takes over, not by all."""
        first, *others = fleet.several(8)

        def slow():
            clock.step(2)
            for keeper in others:
                with pytest.raises(TokenAcquisitionError):
                    keeper.get_token("api", timeout=0.0)

        server.during = slow
        assert first.get_token("api") == "token-1"
        assert server.requests == 1


class TestLastLook:
    """Right before it sends, the holder checks that its claim is young."""

    def test_paused_between_claim_and_request(self, fleet, clock, store, server):
        """A process that was stopped after it claimed sends nothing, and looks again."""
        keeper, other = fleet.several(2)

        def pause():
            clock.step(36)
            assert other.get_token("api") == "token-1"

        store.after["claim"] = pause
        assert keeper.get_token("api") == "token-1"
        assert server.requests == 1
        assert [event.intent for event in takeovers(other)] == [
            "host:1 is about to request a token"
        ]

    def test_paused_alone(self, fleet, clock, store, server):
        """If nobody took over meanwhile, it claims anew and sends one request."""
        keeper = fleet.keeper()
        store.after["claim"] = lambda: clock.step(3)
        assert keeper.get_token("api") == "token-1"
        assert store.calls.count("claim") == 2
        assert not store.record.is_claimed

    def test_paused_with_a_refresh_token_that_works_once(self, family, clock, store, strict):
        """So a refresh token is not spent twice by a process that was paused past its claim."""
        keeper, other = family.several(2)
        for each in (keeper, other):
            each.get_token("api")
        clock.step(internals.cached(keeper).renew_at - clock.monotonic())

        def pause():
            clock.step(36)
            internals.look(other)

        store.after["claim"] = pause
        internals.look(keeper)
        clock.step(0.3)
        internals.look(keeper)
        assert keeper.get_token("api") == other.get_token("api") == "token-2"
        assert not strict.is_revoked

    def test_on_the_wire(self, fleet, clock, store, server):
        """A provider looks once more when it sends: others take over after its longest request."""
        seen = []

        class Careful(FleetProvider):
            def acquire_token(self):
                seen.extend([is_claimed(), may_send()])
                clock.step(29.9)
                seen.append(may_send())
                clock.step(0.2)
                seen.append(may_send())
                last_look()
                return super().acquire_token()

        provider = Careful(server)
        keeper = fleet.keeper(provider=provider)
        store.after["fail"] = lambda: setattr(provider, "acquire_token", lambda: server.grant())
        assert keeper.get_token("api") == "token-1"
        assert seen == [True, True, True, False]
        assert (is_claimed(), may_send()) == (None, True)

    def test_without_the_store(self, fleet, store, server):
        """Without a claim, a provider learns that there is none, and may send."""
        seen = []

        class Careful(FleetProvider):
            def acquire_token(self):
                seen.extend([is_claimed(), may_send()])
                return super().acquire_token()

        store.go_down()
        fleet.keeper(provider=Careful(server)).get_token("api")
        assert seen == [False, True]


class TestOwnClaim:
    """A claim that the store granted although its client gave up."""

    def test_is_adopted_by_its_owner(self, fleet, clock, store, server):
        """The owner finds that it holds the claim, and asks without waiting for its age."""
        keeper = fleet.keeper(when_unavailable="wait", retry=RetryPolicy(attempts=1))
        store.go_down("claim", executes=True)
        with pytest.raises(TokenAcquisitionError, match="without the store"):
            keeper.get_token("api")
        assert store.record.is_claimed
        store.come_back()
        clock.step(5)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert clock.monotonic() == began
        assert not takeovers(keeper)

    def test_others_take_it_over_by_age(self, fleet, clock, store, server):
        """To other processes it is a claim like any other."""
        keeper, other = fleet.several(2, retry=RetryPolicy(attempts=1), when_unavailable="wait")
        store.go_down("claim", executes=True)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        store.come_back()
        began = clock.monotonic()
        assert other.get_token("api") == "token-1"
        assert clock.monotonic() - began >= 5
        assert len(takeovers(other)) == 1


def test_server_is_asked_without_a_lock(fleet, store, server):
    """While the server is asked, every operation of the store works for others."""
    keeper = fleet.keeper()
    keeper.add_provider(FleetProvider(Server(fleet.clock), "other"))
    server.during = lambda: keeper.get_token("other")
    assert keeper.get_token("api") == "token-1"
    assert [type(each) for each in keeper.events.events if isinstance(each, TokenRenewed)] == []
