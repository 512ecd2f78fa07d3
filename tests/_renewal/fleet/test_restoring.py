"""Restoring refresh tokens that work once: the claim keeps all processes from using them."""

import pytest
from kit import internals
from kit.stores import continue_as_child, leave_claim, renew_when_due

from tokenkeeper import TokenAcquisitionError
from tokenkeeper._renewal.looks import ROLLBACK_SECONDS
from tokenkeeper._renewal.unpublished import RETRY_SECONDS
from tokenkeeper.events import ClaimTakenOver


def due(keeper, clock):
    """Step the clock to the moment of the next renewal."""
    clock.step(max(0.0, internals.cached(keeper).renew_at - clock.monotonic()))


def owner(keeper):
    """Return who *keeper* is to the store."""
    return internals.fleet(keeper).owner


@pytest.fixture
def pair(family, clock, store):
    """Return two keepers whose token is due, and whose store lost it."""
    pair = family.several(2)
    for keeper in pair:
        keeper.get_token("api")
    due(pair[0], clock)
    store.wipe()
    return pair


class TestClaim:
    """A process that restores holds the claim while it waits."""

    def test_is_held_meanwhile(self, pair, store):
        """The token is stored, and its claim is kept by the process that did it."""
        internals.look(pair[0])
        assert store.record.generation == 1
        assert store.record.owner == owner(pair[0])
        assert "waits for a newer refresh token" in store.record.intent

    def test_keeps_all_from_asking(self, pair, clock, store, strict):
        """Until the wait is over, no process makes a request; then the one with the claim does."""
        first, second = pair
        internals.look(first)
        for _ in range(10):
            clock.step(ROLLBACK_SECONDS / 10 - 0.01)
            internals.look(second)
            internals.look(first)
        assert strict.requests == 1
        clock.step(1)
        internals.look(second)
        assert strict.requests == 1
        internals.look(first)
        assert strict.requests == 2
        assert not store.record.is_claimed

    def test_one_that_came_back_with_the_store(self, family, clock, store, strict):
        """A claim of the past is taken over, however young the older replica says it is."""
        keeper = family.keeper()
        keeper.get_token("api")
        due(keeper, clock)
        leave_claim(family)
        replica = store.snapshot()
        clock.step(36)
        internals.look(keeper)
        assert strict.requests == 2
        due(keeper, clock)
        store.roll_back(replica)
        store.entry.claimed_at = clock.monotonic()
        internals.look(keeper)
        assert store.record.generation == 2
        assert store.record.owner == owner(keeper)

    def test_is_released_for_a_newer_token(self, family, clock, store, strict):
        """If a newer token is stored by a process without the claim, the holder releases it."""
        old, new = family.several(2)
        for keeper in (old, new):
            keeper.get_token("api")
        strict.during = store.go_down
        renew_when_due(new, clock)
        store.wipe()
        store.come_back()
        internals.look(old)
        assert (store.record.generation, store.record.owner) == (1, owner(old))
        clock.step(RETRY_SECONDS)
        internals.look(new)
        assert (store.record.generation, store.record.owner) == (2, owner(old))
        internals.look(old)
        assert old.get_token("api") == "token-2"
        assert not store.record.is_claimed
        assert strict.requests == 2

    def test_not_that_of_the_other_one(self, family, clock, store, strict):
        """A holder whose claim was taken over by the newer process does not release that one's."""
        old, new = family.several(2)
        for keeper in (old, new):
            keeper.get_token("api")
        renew_when_due(new, clock)
        store.wipe()
        internals.look(old)
        with pytest.raises(TokenAcquisitionError):
            new.get_token("api", force_refresh=True, timeout=0.0)
        assert (store.record.generation, store.record.owner) == (2, owner(new))
        clock.step(1)
        internals.look(old)
        assert old.get_token("api") == "token-2"
        assert store.record.owner == owner(new)


class TestWait:
    """The wait of a process that restores."""

    def test_outlasts_the_pause_of_a_store_that_fails(self, family, clock, store, strict):
        """A process that leaves the store alone can restore a newer token, whatever its life."""
        strict.lifetime = 3.0
        old, new = family.keeper(), family.keeper(jitter=1.0)
        for keeper in (old, new):
            keeper.get_token("api")
        renew_when_due(new, clock)
        store.go_down()
        renew_when_due(new, clock)
        store.come_back()
        store.wipe()
        for _ in range(3 * int(ROLLBACK_SECONDS)):
            internals.look(old)
            internals.look(new)
            clock.step(0.75)
        assert strict.requests > 2
        assert not strict.is_revoked


class TestOutage:
    """A process that could not use the store while others could."""

    @pytest.fixture
    def away(self, family, clock, store):
        """Return a process for which the store is down, after all have the first token."""
        away = family.keeper()
        away.get_token("api")
        due(away, clock)
        store.go_down()
        internals.look(away)
        store.come_back()
        return away

    @pytest.mark.parametrize("forks", [False, True], ids=["", "forked"])
    def test_waits_for_a_newer_refresh_token(self, family, clock, store, strict, away, forks):
        """If the store comes back older, it may not know: one that does has time to restore."""
        replica = store.snapshot()
        here = family.keeper()
        here.get_token("api")
        renew_when_due(here, clock)
        assert strict.requests == 2
        store.roll_back(replica)
        if forks:
            continue_as_child(away)
        clock.step(4.5)
        with pytest.raises(TokenAcquisitionError):
            away.get_token("api", force_refresh=True, timeout=0.0)
        assert strict.requests == 2
        renew_when_due(here, clock)
        for _ in range(3 * int(ROLLBACK_SECONDS)):
            internals.look(away)
            internals.look(here)
            clock.step(0.75)
        assert away.get_token("api") == here.get_token("api")
        assert strict.requests > 2
        assert not strict.is_revoked

    def test_then_goes_on(self, clock, store, strict, away):
        """If no one restores anything, it uses the refresh token that it has."""
        clock.step(4.5)
        internals.look(away)
        clock.step(ROLLBACK_SECONDS - 0.1)
        internals.look(away)
        assert strict.requests == 1
        clock.step(0.5)
        internals.look(away)
        assert away.get_token("api") == "token-2"
        assert not strict.is_revoked


class TestTwo:
    """Two processes restore at the same moment."""

    def test_between_look_and_claim(self, pair, store, strict):
        """The slower one does not restore again, and does not take the claim."""
        first, second = pair
        store.before["claim"] = lambda: internals.look(first)
        internals.look(second)
        assert store.record.owner == owner(first)
        assert store.calls.count("publish") == 2
        assert strict.requests == 1

    def test_between_claim_and_publish(self, pair, clock, store, strict):
        """The one that claimed last holds the claim, and makes the only request."""
        first, second = pair
        store.after["claim"] = lambda: internals.look(second)
        internals.look(first)
        assert (store.record.generation, store.record.owner) == (1, owner(second))
        clock.step(ROLLBACK_SECONDS)
        internals.look(first)
        assert strict.requests == 1
        internals.look(second)
        clock.step(0.25)
        internals.look(first)
        assert first.get_token("api") == second.get_token("api") == "token-2"
        assert strict.requests == 2
        assert not strict.is_revoked

    def test_the_newer_one_was_second(self, family, clock, store, strict):
        """A newer token whose publication was overtaken by the older one is restored again."""
        old, new = family.several(2)
        for keeper in (old, new):
            keeper.get_token("api")
        renew_when_due(new, clock)
        store.wipe()
        store.after["claim"] = lambda: internals.look(old)
        with pytest.raises(TokenAcquisitionError):
            new.get_token("api", force_refresh=True, timeout=0.0)
        assert store.calls.count("publish") == 5  # the older one, a refused one, and the newer one
        assert (store.record.generation, store.record.owner) == (2, owner(new))
        clock.step(0.25)
        internals.look(old)
        assert old.get_token("api") == "token-2"
        assert strict.requests == 2


class TestEnds:
    """The process that restored does not go on."""

    def test_it_dies(self, pair, clock, store, strict):
        """Its claim is taken over once it is as old as that of a request, and not before."""
        died, other = pair
        internals.look(died)
        clock.step(34.9)
        internals.look(other)
        assert strict.requests == 1
        clock.step(0.25)
        internals.look(other)
        assert other.get_token("api") == "token-2"
        (taken,) = (each for each in other.events.events if isinstance(each, ClaimTakenOver))
        assert "waits for a newer refresh token" in taken.intent
        assert not strict.is_revoked

    def test_it_dies_between_claim_and_publish(self, family, clock, store, strict):
        """The other one takes over that claim at once, as its token is still to be restored."""
        died, other = family.several(2)
        for keeper in (died, other):
            keeper.get_token("api")
        due(died, clock)
        store.wipe()
        store.go_down("publish")
        internals.look(died)
        assert (store.record.generation, store.record.owner) == (0, owner(died))
        store.come_back()
        internals.look(other)
        assert (store.record.generation, store.record.owner) == (1, owner(other))

    def test_a_child_of_a_fork(self, pair, clock, store, strict):
        """A child does not go on with its parent's claim."""
        parent, _ = pair
        internals.look(parent)
        continue_as_child(parent)
        clock.step(ROLLBACK_SECONDS + 1)
        with pytest.raises(TokenAcquisitionError):
            parent.get_token("api", force_refresh=True, timeout=0.0)
        assert strict.requests == 1
