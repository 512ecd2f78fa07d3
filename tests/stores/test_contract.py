"""The stores keep the contract, and the contract's tests notice a store that does not."""

import os
import threading
from dataclasses import replace

import pytest
from kit.guards import GUARD_SECONDS

from tokenkeeper.stores.base import NO_RECORD
from tokenkeeper.stores.sqlite import SQLiteTokenStore
from tokenkeeper.testing import MemoryTokenStore, SteppedClock, TokenStoreContract
from tokenkeeper.testing.store_contract_claims import THREADS


class OnASteppedClock(TokenStoreContract):
    """Contract tests whose time passes at once."""

    @pytest.fixture(autouse=True)
    def _clock(self):
        self.clock = SteppedClock()

    def advance(self, seconds):
        self.clock.step(seconds)
        return seconds


class TestMemoryTokenStore(OnASteppedClock):
    """The store in memory keeps the contract."""

    is_shared = False

    @pytest.fixture(autouse=True)
    def _store(self, _clock):
        self.store = MemoryTokenStore(self.clock)

    def make_store(self):
        return self.store


class TestSQLiteTokenStore(OnASteppedClock):
    """The store in an SQLite file keeps the contract."""

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path):
        self.path = tmp_path / "store" / "store.db"

    def make_store(self):
        # A fsync may take long on a busy machine, and many threads wait for each other here.
        return SQLiteTokenStore(self.path, clock=self.clock, timeout_seconds=20.0)

    def make_unavailable_store(self):
        (self.path.parent / "a directory").mkdir(parents=True, mode=0o700)
        self.path.parent.chmod(0o700)
        return SQLiteTokenStore(self.path.parent / "a directory")


@pytest.mark.slow
class TestSQLiteTokenStoreInRealTime(TokenStoreContract):
    """The contract can be tested without a clock that steps."""

    @pytest.fixture(autouse=True)
    def _path(self, tmp_path):
        self.path = tmp_path / "store" / "store.db"

    def make_store(self):
        return SQLiteTokenStore(self.path, timeout_seconds=20.0)


class IgnoresGenerationOnClaim(MemoryTokenStore):
    """Grants claims to those that have not seen the latest token."""

    def claim(self, key, *, generation, **options):
        return super().claim(key, generation=self.read(key).generation, **options)


class IgnoresAges(MemoryTokenStore):
    """Lets a young claim be taken over."""

    def claim(self, key, *, older_than_seconds, **options):
        return super().claim(key, older_than_seconds=0.0, **options)


class RefusesOwnClaims(MemoryTokenStore):
    """Refuses a claim that its owner already has."""

    def claim(self, key, *, owner, older_than_seconds, **options):
        if self.read(key).owner == owner:
            owner, older_than_seconds = f"{owner}'", float("inf")
        return super().claim(key, owner=owner, older_than_seconds=older_than_seconds, **options)


class DoesNotSayFromWhom(MemoryTokenStore):
    """Names no previous owner."""

    def claim(self, key, **options):
        return replace(super().claim(key, **options), taken_from="", taken_intent="")


class AlwaysPublishes(MemoryTokenStore):
    """Stores a token whatever it replaces."""

    def publish(self, key, *, replaces, **options):
        return super().publish(key, replaces=self.read(key).generation, **options)


class ReleasesAnyClaim(MemoryTokenStore):
    """Releases another owner's claim."""

    def publish(self, key, *, owner, **options):
        return super().publish(key, owner=self.read(key).owner or owner, **options)


class NeedsAClaimToPublish(MemoryTokenStore):
    """Refuses tokens of callers without a claim."""

    def publish(self, key, *, owner, **options):
        return self.read(key).owner == owner and super().publish(key, owner=owner, **options)


class BeginsAtAgeZero(MemoryTokenStore):
    """Ignores how old a token already is."""

    def publish(self, key, *, age_seconds, **options):
        return super().publish(key, age_seconds=0.0, **options)


class FailsByOwnerAlone(MemoryTokenStore):
    """Ignores the fence of a failure."""

    def fail(self, key, *, fence, **options):
        return super().fail(key, fence=self.read(key).fence, **options)


class LosesTheFailureBefore(MemoryTokenStore):
    """Replaces a failure where no request was made."""

    def fail(self, key, *, sealed, **options):
        return super().fail(key, sealed=sealed or b"", **options)


class ForgetsTheGeneration(MemoryTokenStore):
    """Deletes the whole record in any case."""

    def forget(self, key, *, entirely=False):
        return super().forget(key, entirely=True)


class GrowsOnEveryForget(MemoryTokenStore):
    """Counts a generation where nothing is forgotten."""

    def forget(self, key, *, entirely=False):
        if not entirely and key in self._entries:
            self._entries[key].generation += not self._entries[key].sealed
        return super().forget(key, entirely=entirely)


class KeepsTextOnly(MemoryTokenStore):
    """Ends a token at its first zero byte."""

    def publish(self, key, *, sealed, **options):
        return super().publish(key, sealed=sealed.split(b"\0")[0], **options)


class CutsKeys(MemoryTokenStore):
    """Takes two long keys for one."""

    def read(self, key):
        return super().read(key[:128])

    def publish(self, key, **options):
        return super().publish(key[:128], **options)


class ClaimsInTwoSteps(MemoryTokenStore):
    """Looks whether the claim is free, and takes it afterwards."""

    def __init__(self, clock):
        super().__init__(clock)
        self.all_have_looked = threading.Barrier(THREADS, timeout=GUARD_SECONDS)

    def claim(self, key, **options):
        is_free = not self.read(key).is_claimed
        self.all_have_looked.wait()
        return super().claim(key, **options | {"older_than_seconds": 0.0 if is_free else 3600.0})


class PublishesInTwoSteps(ClaimsInTwoSteps):
    """Looks at the generation, and stores the token afterwards."""

    def publish(self, key, *, replaces, **options):
        generation = self.read(key).generation
        self.all_have_looked.wait()
        if generation != replaces:
            return False
        generation = self.read(key).generation
        return super().publish(key, replaces=generation, **options)


class BelongsToOneProcess(MemoryTokenStore):
    """Can not be used in a forked child."""

    def __init__(self, clock):
        super().__init__(clock)
        self.pid = os.getpid()

    def read(self, key):
        assert os.getpid() == self.pid
        return super().read(key)


class CreatesByReading(MemoryTokenStore):
    """Changes a record by reading it."""

    def read(self, key):
        record = super().read(key)
        if record == NO_RECORD:
            super().claim(
                key, owner="reader", generation=0, older_than_seconds=0.0, intent="reading"
            )
        return record


class StaysClosed(MemoryTokenStore):
    """Can not be used after it was closed."""

    closed = False

    def read(self, key):
        assert not self.closed
        return super().read(key)

    def close(self):
        self.closed = True


class ExpiresClaims(MemoryTokenStore):
    """Drops old claims."""

    def read(self, key):
        record = super().read(key)
        if record.claim_age_seconds > 3600:
            return replace(record, owner="", intent="", claim_age_seconds=float("inf"))
        return record


BROKEN = {
    IgnoresGenerationOnClaim: "test_a_claim_of_another_generation",
    IgnoresAges: "test_a_claim_is_taken_over_by_its_age",
    RefusesOwnClaims: "test_an_own_claim_is_granted_again",
    DoesNotSayFromWhom: "test_a_claim_is_taken_over_by_its_age",
    AlwaysPublishes: "test_another_generation_is_not_replaced",
    ReleasesAnyClaim: "test_another_owner_keeps_its_claim",
    NeedsAClaimToPublish: "test_another_owner_keeps_its_claim",
    BeginsAtAgeZero: "test_ages_grow",
    FailsByOwnerAlone: "test_a_failure_of_another_claim",
    LosesTheFailureBefore: "test_a_failure_without_a_request",
    ForgetsTheGeneration: "test_a_token_is_forgotten",
    GrowsOnEveryForget: "test_a_token_is_forgotten",
    KeepsTextOnly: "test_any_bytes",
    CutsKeys: "test_long_keys",
    ClaimsInTwoSteps: "test_one_of_many_claims_is_granted",
    PublishesInTwoSteps: "test_one_of_many_publishes",
    BelongsToOneProcess: "test_a_forked_child",
    CreatesByReading: "test_an_unknown_key",
    StaysClosed: "test_a_closed_store_is_used_again",
    ExpiresClaims: "test_a_claim_does_not_expire",
}
"""Stores that break the contract, and a test that notices it."""


@pytest.mark.parametrize("broken", BROKEN, ids=lambda cls: cls.__name__)
def test_broken_stores(broken):
    """A store that breaks one sentence of the contract fails the test of that sentence."""
    contract = TestMemoryTokenStore()
    contract.clock = SteppedClock()
    test = getattr(contract, BROKEN[broken])
    contract.store = MemoryTokenStore(contract.clock)
    test()
    contract.store = broken(contract.clock)
    with pytest.raises(AssertionError):
        test()
