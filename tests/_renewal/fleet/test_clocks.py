"""Time: the older of two ages counts, whatever a clock says."""

from dataclasses import replace
from datetime import timedelta

import pytest
from kit import internals
from kit.stores import FaultyStore, FleetProvider, KeeperFleet, Server

from tokenkeeper.events import ClocksDisagree
from tokenkeeper.testing import SteppedClock


class HostClock:
    """The clocks of one host: those of the test, with a wall clock of its own."""

    def __init__(self, clock, ahead=0.0):
        self.clock = clock
        self.ahead = ahead

    def time(self):
        return self.clock.time() + self.ahead

    def monotonic(self):
        return self.clock.monotonic()

    def wait(self, event, timeout):
        return self.clock.wait(event, timeout)


class HostProvider(FleetProvider):
    """A client that dates expiries by the wall clock of its host, as with ``expires_in``."""

    def __init__(self, server, host):
        super().__init__(server)
        self.host = host

    def acquire_token(self):
        token = super().acquire_token()
        return replace(token, expires_at=token.expires_at + timedelta(seconds=self.host.ahead))

    def refresh_token(self, token):
        return self.acquire_token()


def disagreements(keeper):
    """Return the reported differences."""
    return [e.difference_seconds for e in keeper.events.events if isinstance(e, ClocksDisagree)]


@pytest.fixture
def host_keeper(fleet, clock, server):
    """Return a function that makes a keeper on a host whose wall clock is ahead."""

    def make(ahead=0.0):
        host = HostClock(clock, ahead)
        keeper = fleet.keeper(clock=host, provider=HostProvider(server, host))
        keeper.host = host
        return keeper

    return make


def serve_for_a_day(keepers, clock, server, *, happens=lambda hour: None):
    """Let hours pass; assert that no keeper ever returns an expired token."""
    for minute in range(24 * 4):
        clock.step(900)
        happens(minute // 4)
        for keeper in keepers:
            internals.renew_due(keeper)
        for keeper in keepers:
            token = keeper.get_token("api")
            assert server.is_alive(token), "an expired token was served"


CASES = {
    "an hour ahead": [3600.0, 0.0],
    "an hour behind": [-3600.0, 0.0],
    "an hour apart in both directions": [3600.0, -3600.0],
    "minutes apart": [0.0, 90.0, -90.0],
}


class TestNoExpiredToken:
    """Eight cases of clocks; none of them serves an expired token."""

    @pytest.mark.parametrize("ahead", CASES.values(), ids=CASES)
    def test_hosts_apart(self, host_keeper, clock, server, ahead):
        """Hosts whose clocks differ serve only valid tokens, and ask once for each need or so."""
        keepers = [host_keeper(seconds) for seconds in ahead]
        serve_for_a_day(keepers, clock, server)
        assert server.requests <= 28 * len(keepers)

    @pytest.mark.parametrize("seconds", [7200.0, -7200.0], ids=["forward", "back"])
    def test_host_is_stepped(self, host_keeper, clock, server, seconds):
        """A host whose wall clock is stepped serves only valid tokens."""
        keepers = [host_keeper(), host_keeper()]

        def step(hour):
            if hour == 5:
                keepers[0].host.ahead = seconds

        serve_for_a_day(keepers, clock, server, happens=step)

    @pytest.mark.parametrize("seconds", [7200.0, -7200.0], ids=["forward", "back"])
    def test_store_is_stepped(self, fleet, host_keeper, clock, store, server, seconds):
        """A store whose clock is stepped serves only valid tokens."""
        keepers = [host_keeper(), host_keeper()]

        def step(hour):
            store.own_clock.shift = seconds if hour >= 5 else 0.0

        serve_for_a_day(keepers, clock, server, happens=step)
        assert server.requests <= 30

    def test_store_and_host_are_stepped_back(self, fleet, host_keeper, clock, store, server):
        """If neither clock can be true, the token is not adopted."""
        host_keeper().get_token("api")
        clock.step(3000)
        store.distort = lambda record: replace(record, age_seconds=-4200.0)
        assert host_keeper(-7200.0).get_token("api") == "token-2"

    def test_store_that_steps_back(self, fleet, host_keeper, clock, store, server):
        """The writer's wall clock, which is sealed in, tells the age that the store forgot."""
        first = host_keeper()
        first.get_token("api")
        clock.step(3000)
        store.own_clock.shift = -3000.0
        second = host_keeper()
        second.get_token("api")
        ends_at = internals.cached(first).ends_at
        assert internals.cached(second).ends_at == pytest.approx(ends_at, abs=1e-3)

    def test_restarted_store_clock(self, fleet, clock, store, server):
        """A token whose age the store no longer knows is not adopted."""
        fleet.keeper().get_token("api")
        store.entry.sent_at = -float("inf")
        assert fleet.keeper().get_token("api") == "token-2"


class TestReport:
    """Clocks that disagree are reported."""

    def test_how_far(self, host_keeper, clock):
        """The event says how far this host is ahead of the other one."""
        host_keeper().get_token("api")
        ahead, behind = host_keeper(600.0), host_keeper(-600.0)
        ahead.get_token("api")
        behind.get_token("api")
        assert disagreements(ahead) == [600.0]
        assert disagreements(behind) == [-600.0]

    def test_not_for_a_few_seconds(self, host_keeper, clock):
        """A difference below 5 s is normal."""
        host_keeper().get_token("api")
        keeper = host_keeper(4.9)
        keeper.get_token("api")
        assert disagreements(keeper) == []

    def test_now_and_then(self, host_keeper, clock, store):
        """It is reported at most every ten minutes."""
        host_keeper().get_token("api")
        keeper = host_keeper(60.0)
        keeper.get_token("api")
        for _ in range(5):
            clock.step(100)
            host_keeper().get_token("api", force_refresh=True)
            keeper.get_token("api", force_refresh=True)
        assert len(disagreements(keeper)) == 1
        clock.step(100)
        host_keeper().get_token("api", force_refresh=True)
        keeper.get_token("api", force_refresh=True)
        assert len(disagreements(keeper)) == 2


@pytest.mark.parametrize("lifetime", [2.0, 30.0, 3600.0])
def test_step_between_grant_and_publish(lifetime):
    """A wall clock that is set while the server is asked makes no token older or younger."""
    clock = SteppedClock(auto_step=True)
    store, server = FaultyStore(clock), Server(clock)
    server.lifetime = lifetime
    fleet = KeeperFleet(clock, store, server)
    first, second = fleet.several(2)
    store.before["publish"] = lambda: clock.step_wall(-7200.0)
    first.get_token("api")
    second.get_token("api")
    one, two = internals.cached(first), internals.cached(second)
    assert two.ends_at <= one.requested_at + lifetime + 1e-3
    fleet.close()
