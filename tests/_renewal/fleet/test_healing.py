"""A store that comes back empty or older."""

import pytest
from kit import internals
from kit.stores import FleetProvider, renew_when_due

from tokenkeeper import TokenAcquisitionError
from tokenkeeper._renewal.unpublished import CHORE, CONFIRM_SECONDS


def due(keeper, clock):
    """Step the clock to the moment of the next renewal."""
    clock.step(max(0.0, internals.cached(keeper).renew_at - clock.monotonic()))


class TestRepeatable:
    """A grant that can be repeated."""

    def test_wiped(self, fleet, clock, store, server):
        """After the store lost everything, the next renewal is one request for all."""
        keepers = fleet.several(4)
        for keeper in keepers:
            keeper.get_token("api")
        store.wipe()
        for keeper in keepers:
            renew_when_due(keeper, clock)
        assert {keeper.get_token("api") for keeper in keepers} == {"token-2"}
        assert server.requests == 2

    def test_numbers_go_on(self, fleet, clock, store, server):
        """Its next token has a higher number than the lost one, so that no process misses it."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        renew_when_due(keeper, clock)
        store.wipe()
        renew_when_due(keeper, clock)
        assert store.record.generation == 3

    def test_memory_restores_a_fresh_token(self, fleet, clock, store, server):
        """A fresh token in memory is stored again by the next renewal that looks."""
        first, second = fleet.several(2)
        first.get_token("api")
        store.wipe()
        clock.step(1)
        stored = []
        store.after["publish"] = lambda: stored.append(store.record)
        assert first.get_token("api", force_refresh=True) == "token-2"
        assert [(each.generation, each.age_seconds) for each in stored] == [(1, 1.0)]
        assert second.get_token("api") == "token-2"

    def test_rolled_back(self, fleet, clock, store, server):
        """A store that came back older serves no process an older token than it has."""
        first, second = fleet.several(2)
        first.get_token("api")
        snapshot = store.snapshot()
        renew_when_due(first, clock)
        store.roll_back(snapshot)
        assert first.get_token("api") == "token-2"
        renew_when_due(first, clock)
        assert first.get_token("api") == second.get_token("api") == "token-3"
        assert store.record.generation == 3

    def test_renumbered(self, fleet, clock, store, server):
        """A token that was requested later is newer, though a restarted fleet counts from 1."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        for _ in range(3):
            renew_when_due(keeper, clock)
        assert internals.cached(keeper).generation == 4
        store.wipe()
        clock.step(1000)
        assert fleet.keeper().get_token("api") == "token-5"
        due(keeper, clock)
        internals.look(keeper)
        assert keeper.get_token("api") == "token-5"
        assert (server.requests, store.record.generation) == (5, 1)

    def test_renumbered_up_to_the_same_number(self, fleet, clock, store, server):
        """The same holds for a token that happens to have the same number."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        store.wipe()
        clock.step(1000)
        assert fleet.keeper().get_token("api") == "token-2"
        due(keeper, clock)
        internals.look(keeper)
        assert keeper.get_token("api") == "token-2"

    def test_newer_refresh_token_is_used(self, clock, store, strict, family):
        """A refresh token that can be repeated is the newest one known, here or in the store."""
        provider = FleetProvider(strict)
        provider.repeatable = True
        keeper = family.keeper(provider=provider)
        keeper.get_token("api")
        snapshot = store.snapshot()
        renew_when_due(keeper, clock)
        store.roll_back(snapshot)
        renew_when_due(keeper, clock)
        assert keeper.get_token("api") == "token-3"
        assert not strict.is_revoked

    def test_another_one_is_stored_first(self, fleet, clock, store, server):
        """What another process stores at that moment is not overwritten from memory."""
        keeper, other = fleet.several(2)
        keeper.get_token("api")
        store.wipe()
        clock.step(1)
        store.before["publish"] = lambda: other.get_token("api")
        keeper.get_token("api", force_refresh=True)
        assert store.record.generation == 2
        assert store.calls.count("publish") == 4

    def test_not_the_rejected_one(self, fleet, clock, store, server):
        """A token that an API rejected is not restored."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        store.wipe()
        clock.step(60)
        assert keeper.renew_refused("api", "token-1") == "token-2"
        assert store.calls.count("publish") == 2


class TestOnce:
    """A refresh token that works once."""

    def test_wiped(self, family, clock, store, strict):
        """The refresh token comes back from memory, and others go on with it."""
        first, second = family.several(2)
        for keeper in (first, second):
            keeper.get_token("api")
        store.wipe()
        due(first, clock)
        internals.look(first)
        assert store.record.generation == 1
        assert strict.requests == 1
        clock.step(11)
        internals.look(first)
        internals.look(second)
        assert first.get_token("api") == second.get_token("api") == "token-2"
        assert not strict.is_revoked

    def test_waits_ten_seconds_for_a_newer_one(self, family, clock, store, strict):
        """A process waits 10 s before it spends what it restored: another may have a newer one."""
        keeper = family.keeper()
        keeper.get_token("api")
        store.wipe()
        due(keeper, clock)
        restored_at = clock.monotonic()
        while strict.requests == 1:
            internals.look(keeper)
            clock.step(0.05)
        assert 10.0 <= clock.monotonic() - restored_at < 10.5

    def test_so_does_a_caller(self, family, clock, store, strict):
        """A caller without a valid token waits as long, and then gets one."""
        keeper = family.keeper()
        keeper.get_token("api")
        store.wipe()
        clock.step(4000)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-2"
        assert 10.0 <= clock.monotonic() - began < 10.5

    def test_whatever_the_life(self, family, clock, store, strict):
        """So do processes whose tokens live shorter than that."""
        strict.lifetime = 6.0
        keeper = family.keeper()
        keeper.get_token("api")
        store.wipe()
        clock.step(10)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-2"
        assert 10.0 <= clock.monotonic() - began < 10.5

    def test_the_newer_one_wins(self, family, clock, store, strict):
        """If the process with the newer refresh token looks meanwhile, that one is used."""
        old, new = family.several(2)
        for keeper in (old, new):
            keeper.get_token("api")
        due(new, clock)
        internals.look(new)
        store.wipe()
        internals.look(old)
        clock.step(1)
        with pytest.raises(TokenAcquisitionError):
            new.get_token("api", force_refresh=True, timeout=0.0)
        assert store.record.generation == 2
        clock.step(1)
        internals.look(old)
        assert old.get_token("api") == "token-2"
        clock.step(11)
        internals.look(new)
        assert new.get_token("api") == "token-3"
        began = clock.monotonic()
        assert old.get_token("api", force_refresh=True) == "token-4"
        assert clock.monotonic() == began
        assert not strict.is_revoked

    def test_rolled_back(self, family, clock, store, strict):
        """A process that knows better does not use the spent refresh token of an older replica."""
        keeper = family.keeper()
        keeper.get_token("api")
        snapshot = store.snapshot()
        renew_when_due(keeper, clock)
        store.roll_back(snapshot)
        due(keeper, clock)
        internals.look(keeper)
        clock.step(11)
        internals.look(keeper)
        assert keeper.get_token("api") == "token-3"
        assert not strict.is_revoked

    def test_two_restore_at_once(self, family, clock, store, strict):
        """If another process restores a newer one first, a process looks again, and adopts it."""
        old, new = family.several(2)
        for keeper in (old, new):
            keeper.get_token("api")
        due(new, clock)
        internals.look(new)
        store.wipe()

        def newer_comes_first():
            clock.step(1)
            with pytest.raises(TokenAcquisitionError):
                new.get_token("api", force_refresh=True, timeout=0.0)

        store.before["claim"] = newer_comes_first
        internals.look(old)
        clock.step(0.1)
        internals.look(old)
        assert old.get_token("api") == "token-2"
        assert strict.requests == 2

    def test_right_after_it_was_stored(self, family, clock, store, strict):
        """A store that fails over to a replica without the last write gets it again."""
        keeper, other = family.several(2)
        for each in (keeper, other):
            each.get_token("api")
        replica = store.snapshot()
        store.after["publish"] = lambda: store.roll_back(replica)
        renew_when_due(keeper, clock)
        assert store.record.generation == 1
        clock.step(CONFIRM_SECONDS)
        internals.look(keeper)
        assert store.record.generation == 2
        assert not internals.chores(keeper)
        internals.look(other)
        assert other.get_token("api") == "token-2"
        assert not strict.is_revoked

    def test_is_looked_for_once(self, family, clock, store, strict):
        """A token that is still there two seconds later is not written again."""
        keeper = family.keeper()
        keeper.get_token("api")
        clock.step(CONFIRM_SECONDS - 0.01)
        assert not internals.look(keeper)
        clock.step(0.01)
        reads = store.calls.count("read")
        internals.look(keeper)
        assert store.calls.count("read") == reads + 1
        assert store.calls.count("publish") == 1
        assert not internals.chores(keeper)

    def test_a_late_look(self, family, clock, store, strict):
        """A process that was stopped until its token was due does not restore it unasked.

        Another one may have used that refresh token meanwhile.
        """
        keeper = family.keeper()
        keeper.get_token("api")
        store.wipe()
        due(keeper, clock)
        internals.renew(keeper, CHORE)
        assert not list(store.keys())

    @pytest.mark.parametrize("happens", ["rolled back", "wiped"])
    def test_during_the_request(self, family, clock, store, strict, happens):
        """If the store loses records while the server is asked, the new token is stored in it."""
        keeper, other = family.several(2)
        keeper.get_token("api")
        snapshot = store.snapshot()
        renew_when_due(keeper, clock)
        lose = store.wipe if happens == "wiped" else lambda: store.roll_back(snapshot)
        strict.during = lose
        renew_when_due(keeper, clock)
        assert store.record.generation == 3
        assert other.get_token("api") == "token-3"
        renew_when_due(other, clock)
        assert other.get_token("api") == "token-4"
        assert not strict.is_revoked
