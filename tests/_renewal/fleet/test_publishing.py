"""Publish: by compare-and-swap, and later if the store can't be used."""

import pytest
from kit import internals
from kit.guards import until
from kit.stores import FaultyStore, FleetProvider, KeeperFleet, Server, renew_when_due

from tokenkeeper import KeeperClosedError, RetryPolicy
from tokenkeeper._renewal.unpublished import CHORE, RETRY_SECONDS
from tokenkeeper.events import TokenAdopted, TokenRenewed


def offer(keeper, clock):
    """Step the clock to the next offer, and play the scheduler."""
    clock.step(RETRY_SECONDS)
    return internals.look(keeper)


class TestRefused:
    """The generation is not the one that was claimed."""

    def test_the_first_one_counts(self, fleet, clock, store, server):
        """A holder that was too slow serves what the process that took over has published."""
        slow, quick = fleet.several(2)
        for keeper in (slow, quick):
            keeper.get_token("api")

        def overtake():
            clock.step(36)
            internals.look(quick)

        server.during = overtake
        renew_when_due(slow, clock)
        assert server.requests == 3
        assert slow.get_token("api") == quick.get_token("api") == "token-3"
        assert store.record.generation == 2
        assert [type(e) for e in slow.events.events][-1] is TokenAdopted

    def test_releases_the_claim(self, fleet, clock, store, server):
        """A claim whose token was refused is released, so that no one waits for its age."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        server.during = lambda: store.put(internals.record_key(keeper), 1, b"unreadable")
        clock.step(1)
        assert keeper.get_token("api", force_refresh=True) == "token-2"
        assert not store.record.is_claimed

    def test_forced_callers_get_their_own(self, fleet, clock, store, server):
        """What is stored does not do for a caller that forces, if it was requested before."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        clock.step(1)

        def renumber():
            store.entry.generation += 1

        server.during = renumber
        assert keeper.get_token("api", force_refresh=True) == "token-2"
        assert server.requests == 2

    def test_failover_to_an_older_replica(self, fleet, clock, store, server):
        """Two holders after a failover: the first publishes, the second adopts that."""
        one, two = fleet.several(2)
        for keeper in (one, two):
            keeper.get_token("api")
        replica = store.snapshot()

        def fail_over():
            store.roll_back(replica)
            internals.look(two)

        server.during = fail_over
        renew_when_due(one, clock)
        assert one.get_token("api") == two.get_token("api") == "token-3"
        assert [type(e) for e in two.events.events].count(TokenRenewed) == 1

    def test_own_token_where_the_other_one_will_not_do(self, fleet, clock, store, server):
        """If what is stored can't be used, the process serves what it was granted."""
        keeper = fleet.keeper()
        key = internals.record_key(keeper)
        server.during = lambda: store.put(key, 0, b"unreadable")
        assert keeper.get_token("api") == "token-1"


class TestUnpublished:
    """A refresh token that works once, and a store that can't be used at that moment."""

    def test_is_stored_when_the_store_returns(self, family, clock, store, strict):
        """It is offered to the store until that works."""
        keeper, other = family.several(2)
        keeper.get_token("api")
        strict.during = store.go_down
        renew_when_due(keeper, clock)
        assert keeper.get_token("api") == "token-2"
        offer(keeper, clock)
        assert store.record.generation == 1
        store.come_back()
        offer(keeper, clock)
        assert store.record.generation == 2
        assert other.get_token("api") == "token-2"
        renew_when_due(other, clock)
        assert other.get_token("api") == "token-3"
        assert not strict.is_revoked

    def test_is_offered_for_as_long_as_it_takes(self, family, clock, store, strict):
        """However long the store is down, the refresh token is not lost."""
        keeper = family.keeper()
        strict.during = store.go_down
        assert keeper.get_token("api") == "token-1"
        offers = store.calls.count("publish")
        for _ in range(20):
            offer(keeper, clock)
        assert store.calls.count("publish") == offers + 20
        clock.step(3000)
        offer(keeper, clock)
        store.come_back()
        assert store.record.generation == 0
        offer(keeper, clock)
        assert store.record.generation == 1
        assert not internals.chores(keeper)

    def test_is_offered_four_times_a_second(self, family, clock, store, strict):
        """A store that can't be used is not asked more often than that."""
        keeper = family.keeper()
        strict.during = store.go_down
        keeper.get_token("api")
        for _ in range(3):
            clock.step(RETRY_SECONDS - 0.01)
            assert not internals.look(keeper)
            clock.step(0.01)
            assert [name.startswith(CHORE) for name in internals.look(keeper)] == [True]

    def test_one_chore_for_all(self, clock, store, strict, family):
        """Whatever number of tokens is to be stored, the scheduler has one chore."""
        keeper = family.keeper()
        providers = [FleetProvider(Server(clock, rotates=True), name) for name in "abc"]
        for provider in providers:
            store.come_back()
            clock.step(10)
            keeper.add_provider(provider)
            provider.server.during = store.go_down
            keeper.get_token(provider.provider_name)
        assert len(internals.chores(keeper)) == 1
        store.come_back()
        keys = list(store.keys())
        assert not any(store.read(key).generation for key in keys)
        offer(keeper, clock)
        assert [store.read(key).generation for key in keys] == [1, 1, 1]
        assert not internals.chores(keeper)

    def test_in_each_of_several_stores(self, family, clock, store):
        """A token for one store is offered to it, whatever is stored in another meanwhile."""
        custody = FaultyStore(clock)
        provider = FleetProvider(Server(clock, rotates=True), "own")
        provider.custody = custody
        keeper = family.keeper()
        keeper.add_provider(provider)
        provider.server.during = custody.go_down
        keeper.get_token("own")
        assert custody.record.generation == 0
        keeper.get_token("api")
        custody.come_back()
        clock.step(RETRY_SECONDS)
        internals.look(keeper)
        assert custody.record.generation == 1
        assert store.record.generation == 1

    def test_no_worker_is_parked(self, patient):
        """Between two offers, no thread waits for the next one."""
        store, strict = FaultyStore(patient), Server(patient, rotates=True)
        family = KeeperFleet(patient, store, strict)
        keeper = family.keeper(threads=True)
        strict.during = store.go_down
        assert keeper.get_token("api") == "token-1"
        for offers in (2, 3, 4):
            until(lambda: not internals.busy_workers(keeper), "the end of the job")
            assert not patient.waiting
            offer(keeper, patient)
            until(lambda n=offers: store.calls.count("publish") == n, "the next offer")
        family.close()
        assert store.record.generation == 1

    def test_the_scheduler_does_it(self, patient):
        """With threads of its own, a keeper stores the token on its own."""
        store, strict = FaultyStore(patient), Server(patient, rotates=True)
        family = KeeperFleet(patient, store, strict)
        keeper = family.keeper(threads=True)
        internals.release_scheduler(keeper)
        strict.during = store.go_down
        assert keeper.get_token("api") == "token-1"
        store.come_back()
        until(lambda: patient.step(0.05) or store.record.generation == 1, "the offer")
        until(lambda: not internals.chores(keeper), "the end of the job")
        family.close()

    def test_inline_keeper_does_not_wait(self, family, clock, store, strict):
        """Without threads the caller gets its token at once; it is stored later."""
        keeper = family.keeper(background=False)
        strict.during = store.go_down
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert clock.monotonic() == began
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        assert store.record.generation == 1

    def test_store_all(self, family, clock, store, strict):
        """What close() and the end of the process call says whether anything is left."""
        keeper = family.keeper(background=False)
        assert internals.unpublished(keeper).store_all()
        strict.during = store.go_down
        keeper.get_token("api")
        assert not internals.unpublished(keeper).store_all()
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        assert store.record.sealed is not None

    def test_older_store(self, family, clock, store, strict):
        """A store that comes back older gets it, too."""
        keeper = family.keeper(background=False)
        keeper.get_token("api")
        snapshot = store.snapshot()
        clock.step(3300)
        keeper.get_token("api")
        strict.during = store.go_down
        clock.step(3300)
        keeper.get_token("api")
        store.roll_back(snapshot)
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        assert store.record.generation == 3

    def test_newer_record_counts(self, family, clock, store, strict):
        """If the fleet went on meanwhile, it is dropped."""
        keeper = family.keeper(background=False)
        strict.during = store.go_down
        keeper.get_token("api")
        store.come_back()
        store.put(internals.record_key(keeper), 0, b"the other one's")
        assert internals.unpublished(keeper).store_all()
        assert store.record.sealed == b"the other one's"

    def test_cleared_meanwhile(self, family, clock, store, strict):
        """A token that is cleared before it was stored is not stored."""
        keeper = family.keeper(background=False)
        strict.during = store.go_down
        keeper.get_token("api")
        clock.step(1)
        keeper.clear_token("api")
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        assert store.record.sealed is None

    def test_replaced_meanwhile(self, family, clock, store, strict):
        """If a newer token comes while the older one is being stored, the newer one is kept."""
        keeper = family.keeper(background=False)
        strict.during = store.go_down
        keeper.get_token("api")
        store.come_back()
        unpublished, newer = internals.unpublished(keeper), internals.cached(keeper).published(2)
        key = internals.record_key(keeper)
        store.before["publish"] = lambda: unpublished.add(key, "api", newer, 1)
        assert unpublished.store_all()
        assert store.record.generation == 1
        assert unpublished.store_all()
        assert store.record.generation == 2

    def test_stored_by_another_thread(self, family, clock, store, strict):
        """The offers end once another thread has stored it."""
        keeper = family.keeper()
        strict.during = store.go_down
        assert keeper.get_token("api") == "token-1"
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        offers = store.calls.count("publish")
        offer(keeper, clock)
        assert store.calls.count("publish") == offers
        assert not internals.chores(keeper)

    def test_close_stores_it(self, patient):
        """Closing the keeper ends the offers with a last one."""
        store, strict = FaultyStore(patient), Server(patient, rotates=True)
        family = KeeperFleet(patient, store, strict)
        keeper = family.keeper(threads=True)
        strict.during = store.go_down
        assert keeper.get_token("api") == "token-1"
        store.come_back()
        assert store.record.sealed is None
        family.close()
        assert store.record.sealed is not None
        assert not any(thread.is_alive() for thread in internals.worker_threads(keeper))

    def test_repeatable_grants_are_not_offered(self, fleet, clock, store, server):
        """A token that can be had again is not worth it."""
        keeper = fleet.keeper(retry=RetryPolicy(attempts=1))
        store.go_down("publish")
        keeper.get_token("api")
        assert store.calls.count("publish") == 1
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        assert store.record.sealed is None


class TestAbandoned:
    """A keeper that is closed in the middle of a request."""

    def test_its_claim_is_free(self, fleet, clock, store, server):
        """Another process makes the request at once, and does not wait for the claim's age."""
        first, second = fleet.keeper(), fleet.keeper()
        taken = []

        def close_and_ask():
            server.during = None
            first.close()
            taken.append(second.get_token("api"))

        server.during = close_and_ask
        began = clock.monotonic()
        with pytest.raises(KeeperClosedError):
            first.get_token("api")
        assert taken == [second.get_token("api")]
        assert clock.monotonic() - began < 5
