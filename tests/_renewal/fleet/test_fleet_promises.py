"""The promises of a fleet, checked after every step of random histories."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from kit import internals
from kit.stores import FaultyStore, KeeperFleet, Server, continue_as_child

from tokenkeeper import RetryPolicy, TokenAcquisitionError
from tokenkeeper.testing import SteppedClock

WHICH = st.integers(min_value=0, max_value=2)
FAULTS = ["all", "read", "claim", "publish", "fail"]


class PlayedClock(SteppedClock):
    """A clock that every wait steps, and whose steps play the schedulers of all keepers.

    Other processes go on while one of them waits, so what they have to store is stored.
    """

    def __init__(self):
        super().__init__(auto_step=True)
        self.keepers = ()
        self.is_playing = False

    def step(self, seconds):
        super().step(seconds)
        if self.is_playing:
            return
        self.is_playing = True
        try:
            for keeper in self.keepers:
                for chore in internals.chores(keeper):
                    internals.renew(keeper, chore)
        finally:
            self.is_playing = False


class Fleet(RuleBasedStateMachine):
    """Three keepers, one store, faults of all kinds, and a clock that jumps."""

    rotates = False

    @initialize(lifetime=st.sampled_from([4.0, 60.0, 3600.0]))
    def begin(self, lifetime):
        self.clock = PlayedClock()
        self.store = FaultyStore(self.clock)
        self.server = Server(self.clock, rotates=self.rotates)
        self.server.lifetime = lifetime
        self.fleet = KeeperFleet(self.clock, self.store, self.server)
        retry = RetryPolicy(attempts=2)
        self.keepers = self.fleet.several(3, retry=retry)
        self.clock.keepers = self.keepers
        self.needs = 3
        self.is_trusted = True
        self.snapshot = self.store.snapshot()

    def teardown(self):
        if hasattr(self, "fleet"):
            self.fleet.close()

    # ---- what happens

    @rule(seconds=st.sampled_from([0.01, 1.0, 6.0, 40.0, 400.0, 3000.0]))
    def time_passes(self, seconds):
        self.clock.step(seconds)
        self.needs += 3 * (1 + int(3 * seconds / self.server.lifetime))
        for keeper in self.keepers:
            internals.renew_due(keeper)

    @rule(which=WHICH)
    def a_refresher_looks(self, which):
        self.needs += 1
        internals.renew_due(self.keepers[which])

    @rule(
        which=st.sampled_from(FAULTS),
        executes=st.booleans(),
        seconds=st.sampled_from([1.0, 20.0, 300.0]),
    )
    def the_store_fails(self, which, executes, seconds):
        operations = () if which == "all" else (which,)
        self.needs += 3
        self.store.go_down(*operations, executes=executes, hangs_for=0.1, seconds=seconds)

    @rule()
    def the_store_comes_back(self):
        self.store.come_back()
        self.clock.step(6)
        self.needs += 3

    @rule()
    def the_store_is_saved(self):
        self.snapshot = self.store.snapshot()

    @rule()
    def the_store_is_rolled_back(self):
        self.store.roll_back(self.snapshot)
        self.needs += 3

    @rule()
    def the_store_is_wiped(self):
        self.store.wipe()
        self.needs += 3

    @rule(seconds=st.sampled_from([-3600.0, -10.0, 10.0, 3600.0]))
    def the_store_s_clock_is_stepped(self, seconds):
        self.store.own_clock.shift += seconds
        self.needs += 3

    @rule(is_down=st.booleans())
    def the_server_s_mood_changes(self, is_down):
        error = TokenAcquisitionError("down", status_code=503) if is_down else None
        self.server.error = error
        self.needs += 6

    @rule(which=WHICH)
    def a_process_forks(self, which):
        """Continue as the child."""
        continue_as_child(self.keepers[which])
        self.needs += 1

    @rule(which=WHICH)
    def a_process_is_paused_after_its_claim(self, which):
        self.store.after["claim"] = lambda: self.clock.step(36)
        self.needs += 3

    @rule(which=WHICH)
    def somebody_forces(self, which):
        self.needs += 3
        self.ask(which, force_refresh=True)

    # ---- what must be true

    @rule(which=WHICH)
    def somebody_asks(self, which):
        self.needs += 2
        self.ask(which)

    def ask(self, which, **options):
        keeper = self.keepers[which]
        cached = internals.cached(keeper)
        is_valid = cached is not None and self.clock.monotonic() < cached.dead_at
        try:
            token = keeper.get_token("api", **options)
        except TokenAcquisitionError:
            assert options or not is_valid, "an error although there is a valid token"
        else:
            assert self.server.is_alive(token), "an expired token was served"

    @invariant()
    def requests_are_bounded(self):
        if hasattr(self, "server"):
            assert self.server.requests <= 3 * self.needs


class OneFamily(Fleet):
    """The same with refresh tokens that work once, while the store loses nothing."""

    rotates = True

    # A store that goes back in time may offer a spent refresh token to a process that knows no
    # better, which no protocol can prevent. What is possible is tested in test_healing.py.
    the_store_is_rolled_back = the_store_is_wiped = None

    def is_storing(self):
        """Return whether a process has a token that the store does not have yet."""
        return any(internals.chores(keeper) for keeper in self.keepers)

    @rule(
        which=st.sampled_from(FAULTS),
        executes=st.booleans(),
        seconds=st.sampled_from([1.0, 20.0, 300.0]),
    )
    def the_store_fails(self, which, executes, seconds):
        # A store that refuses tokens, but grants claims, must recover before a claim is old.
        if which == "publish":
            if self.is_storing():
                return
            seconds = min(seconds, 20.0)
        super().the_store_fails(which, executes, seconds)

    @rule(which=WHICH)
    def a_process_forks(self, which):
        """Continue as the child, unless the parent, which is gone then, has a token to store."""
        if not internals.chores(self.keepers[which]):
            super().a_process_forks(which)

    @invariant()
    def nothing_is_spent_twice(self):
        if hasattr(self, "server"):
            assert not self.server.is_revoked, "a refresh token was spent twice"


class Lossy(Fleet):
    """Refresh tokens that work once, and a store that loses records: still no expired token."""

    rotates = True


@pytest.mark.parametrize("machine", [Fleet, OneFamily, Lossy])
def test_promises(machine):
    """No expired token, no error while a valid one is held, and no herd."""
    limits = settings(max_examples=25, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(machine, settings=limits)
