"""The store may be gone: what is served, who asks alone, and how the store is spared."""

import pytest
from kit import internals
from kit.clocks import StoppedClock
from kit.stores import continue_as_child, renew_when_due

from tokenkeeper import RetryPolicy, TokenAcquisitionError
from tokenkeeper._renewal.breaker import Breaker
from tokenkeeper.events import StoreRecovered, StoreUnavailable
from tokenkeeper.exceptions import StoreUnavailableError

ONCE = RetryPolicy(attempts=1)


def of_kind(keeper, kind):
    """Return the events of *kind* so far."""
    return [event for event in keeper.events.events if isinstance(event, kind)]


def look_until(keeper, clock, moment):
    """Play the scheduler until *moment*, on the monotonic clock."""
    while internals.next_due(keeper) < moment:
        clock.step(max(0.0, internals.next_due(keeper) - clock.monotonic()))
        internals.look(keeper)
    clock.step(max(0.0, moment - clock.monotonic()))


class TestRepeatable:
    """A grant that can be repeated."""

    def test_first_token(self, fleet, store, server):
        """With nothing valid, it is asked for alone at once."""
        store.go_down()
        assert fleet.keeper().get_token("api") == "token-1"
        assert server.requests == 1

    def test_valid_token_is_served_until_the_buffer_is_used(self, fleet, clock, store, server):
        """A valid token waits for the store until 60 % of the buffer has passed, and no longer."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        cached = internals.cached(keeper)
        alone_at = cached.stale_at + 0.6 * (cached.dead_at - cached.stale_at)
        store.go_down()
        look_until(keeper, clock, alone_at - 0.01)
        assert server.requests == 1
        assert keeper.get_token("api") == "token-1"
        look_until(keeper, clock, alone_at + 1)
        assert server.requests == 2
        assert keeper.get_token("api") == "token-2"

    @pytest.mark.parametrize("lifetime", [3.0, 10.0, 60.0])
    def test_short_lives(self, fleet, clock, store, server, lifetime):
        """However short a token lives, it is renewed alone before it expires."""
        server.lifetime = lifetime
        keeper = fleet.keeper()
        keeper.get_token("api")
        cached = internals.cached(keeper)
        store.go_down()
        look_until(keeper, clock, cached.dead_at - 0.01)
        assert keeper.get_token("api") == "token-2"

    def test_outage_across_the_renewal_is_no_request(self, fleet, clock, store, server):
        """An outage of 14 s across the renewal of 60-second tokens costs no extra request."""
        server.lifetime = 60.0
        keepers = fleet.several(2)
        for keeper in keepers:
            keeper.get_token("api")
        renew_at = internals.cached(keepers[0]).renew_at
        clock.step(renew_at - clock.monotonic())
        store.go_down()
        for keeper in keepers:
            look_until(keeper, clock, renew_at + 7)
        clock.step(max(0.0, renew_at + 14 - clock.monotonic()))
        store.come_back()
        clock.step(0.5)
        for keeper in keepers:
            internals.look(keeper)
            look_until(keeper, clock, clock.monotonic() + 4.0)
        assert server.requests <= 3
        assert keepers[0].get_token("api") != "token-1"

    def test_forced(self, fleet, clock, store, server):
        """A caller that forces a new token gets one that was asked for alone."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        store.go_down()
        assert keeper.get_token("api", force_refresh=True) == "token-2"
        assert internals.cached(keeper).generation == 2

    def test_goes_back_to_the_store(self, fleet, clock, store, server):
        """Once the store is back, the next renewal is shared again."""
        store.go_down()
        first, second = fleet.several(2)
        assert first.get_token("api") == "token-1"
        store.come_back()
        clock.step(10)
        renew_when_due(first, clock)
        assert second.get_token("api") == "token-2"

    def test_publish_fails(self, fleet, clock, store, server):
        """A token that could not be stored is served, and others get one of their own in time."""
        first, second = fleet.several(2)
        store.go_down("publish")
        assert first.get_token("api") == "token-1"
        store.come_back()
        assert second.get_token("api") == "token-2"
        assert server.requests == 2


class TestWait:
    """when_unavailable: wait."""

    def test_first_token(self, fleet, store, server):
        """Nothing is asked for without the store; the error says so, with the store's own words."""
        store.go_down()
        with pytest.raises(TokenAcquisitionError) as caught:
            fleet.keeper(when_unavailable="wait", retry=ONCE).get_token("api")
        assert "no token is requested without the store" in str(caught.value)
        assert "the store does not answer. Start it." in str(caught.value)
        assert caught.value.transient
        assert isinstance(caught.value.__cause__, StoreUnavailableError)
        assert server.requests == 0

    def test_comes_back_in_time(self, fleet, clock, store, server):
        """A caller waits for the store as long as the retry policy allows."""
        store.go_down(seconds=5)
        retry = RetryPolicy(attempts=50, initial_wait_seconds=2)
        keeper = fleet.keeper(when_unavailable="wait", retry=retry)
        assert keeper.get_token("api") == "token-1"

    def test_valid_token(self, fleet, clock, store, server):
        """A valid token is served to its last moment, and then callers learn why there is none."""
        keeper = fleet.keeper(when_unavailable="wait", retry=ONCE)
        keeper.get_token("api")
        dead_at = internals.cached(keeper).dead_at
        store.go_down()
        look_until(keeper, clock, dead_at - 0.1)
        assert keeper.get_token("api") == "token-1"
        clock.step(0.2)
        with pytest.raises(TokenAcquisitionError, match="without the store"):
            keeper.get_token("api")
        assert server.requests == 1


class TestSleep:
    """A process that sleeps in the middle of an operation."""

    @pytest.mark.parametrize("operation", ["read", "claim"])
    def test_is_no_outage(self, fleet, clock, store, server, operation):
        """The operation is made again: its time was up, but the store is there."""
        keeper, other = fleet.several(2)
        other.get_token("api")
        requests = server.requests

        def sleep():
            clock.step(4000)
            raise StoreUnavailableError("it did not answer in time")

        store.before[operation] = sleep
        clock.step(4000)
        assert keeper.get_token("api") == other.get_token("api")
        assert server.requests == requests + 1
        assert keeper.health()["store"]["status"] == "ok"

    def test_is_an_outage_if_it_fails_again(self, fleet, clock, store, server):
        """A store that fails at the second attempt as well is left alone."""
        keeper = fleet.keeper()
        store.go_down(hangs_for=10.0)
        keeper.get_token("api")
        assert keeper.health()["store"]["status"] == "unavailable"
        assert store.calls == ["read", "read"]


class TestBreaker:
    """A store that fails is left alone for a while."""

    @pytest.mark.parametrize("forks", [False, True], ids=["here", "forked"])
    def test_is_left_alone(self, fleet, clock, store, server, forks):
        """After a failure no operation is tried for 3 s, and then one, also in a forked child."""
        keeper = fleet.keeper(jitter=0.5)
        store.go_down()
        keeper.get_token("api")
        assert store.calls == ["read"]
        if forks:
            continue_as_child(keeper)
        clock.step(2.9)
        keeper.get_token("api", force_refresh=True)
        assert store.calls == ["read"]
        clock.step(0.2)
        keeper.get_token("api", force_refresh=True)
        assert store.calls == ["read", "read"]

    @pytest.mark.parametrize(("jitter", "seconds"), [(0.0, 1.5), (0.5, 3.0), (1.0, 4.5)])
    def test_pause_is_spread(self, jitter, seconds):
        """The pause is 3 s plus or minus half of it, so that a fleet does not return as one."""
        clock = StoppedClock()
        breaker = Breaker(clock, lambda: jitter, 1.0)
        assert breaker.retry_in_seconds == 0
        breaker.check()
        assert breaker.failed(StoreUnavailableError("down"))
        assert breaker.retry_in_seconds == seconds
        clock.now = seconds - 0.01
        with pytest.raises(StoreUnavailableError, match="down"):
            breaker.check()
        clock.now = seconds
        breaker.check()

    def test_one_probe_at_a_time(self):
        """While one caller tries a failing store, others do not, for twice its timeout."""
        clock = StoppedClock()
        breaker = Breaker(clock, lambda: 0.5, 1.0)
        breaker.failed(StoreUnavailableError("down"))
        clock.now = 3.0
        breaker.check()
        for moment in (3.0, 4.9):
            clock.now = moment
            with pytest.raises(StoreUnavailableError):
                breaker.check()
        clock.now = 5.0
        breaker.check()

    def test_duration(self):
        """It knows since when no operation worked, however many failed since."""
        clock = StoppedClock()
        breaker = Breaker(clock, lambda: 0.5, 1.0)
        assert breaker.worked() is None
        clock.now = 10.0
        assert breaker.failed(StoreUnavailableError("down"))
        clock.now = 14.0
        assert not breaker.failed(StoreUnavailableError("still down"))
        assert str(breaker.error) == "still down"
        clock.now = 30.0
        assert breaker.worked() == 20.0
        assert breaker.worked() is None

    def test_hanging_store_costs_its_timeout_once(self, fleet, clock, store, server):
        """Of many tokens, only the first waits for a store that hangs."""
        keeper = fleet.keeper()
        store.go_down(hangs_for=1.0)
        began = clock.monotonic()
        for _ in range(5):
            keeper.get_token("api", force_refresh=True)
        assert clock.monotonic() - began == 1.0

    def test_events(self, fleet, clock, store, server):
        """Its begin and its end are one event each, with reason and duration."""
        keeper = fleet.keeper()
        store.go_down()
        for _ in range(4):
            keeper.get_token("api", force_refresh=True)
            clock.step(5)
        store.come_back()
        keeper.get_token("api", force_refresh=True)
        (down,) = of_kind(keeper, StoreUnavailable)
        assert (down.store, down.reason) == ("memory", "the store does not answer. Start it.")
        (up,) = of_kind(keeper, StoreRecovered)
        assert (up.store, up.unavailable_seconds) == ("memory", 20.0)

    def test_health(self, fleet, clock, store, server):
        """health() shows the store without asking it."""
        keeper = fleet.keeper()
        fine = {"status": "ok", "store": "memory", "last_error": None, "unavailable_seconds": 0.0}
        assert keeper.health()["store"] == fine
        store.go_down()
        keeper.get_token("api")
        clock.step(7)
        store.calls.clear()
        assert keeper.health()["store"] == {
            "status": "unavailable",
            "store": "memory",
            "last_error": "the store does not answer. Start it.",
            "unavailable_seconds": 7.0,
        }
        assert keeper.health()["status"] == "ok"
        assert not store.calls
