"""Tests of claims and failures: who may ask, for how long, and how the claim is released."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

from functools import partial

from tokenkeeper.stores.base import Claim
from tokenkeeper.testing.store_contract_base import (
    ContractTests,
    at_once,
    claimed,
    is_about,
    new_key,
    published,
    without_ages,
)

__all__ = ["ClaimTests"]

THREADS = 8
ROUNDS = 3


class ClaimTests(ContractTests):
    """The right to request a token, and why there is none."""

    def test_a_free_claim_is_granted(self) -> None:
        """A claim on an empty record is granted, and the other client sees it."""
        with self.clients() as (key, one, other):
            answer = claimed(one, key, intent="refresh")
            assert answer.granted
            assert (answer.taken_from, answer.taken_intent) == ("", "")
            assert (answer.record.owner, answer.record.intent) == ("first", "refresh")
            assert answer.record.fence >= 1
            assert answer.record.is_claimed
            assert is_about(answer.record.claim_age_seconds, 0.0)
            seen = other.read(key)
            assert without_ages(seen) == without_ages(answer.record)
            assert is_about(seen.claim_age_seconds, 0.0)
            assert (seen.generation, seen.sealed) == (0, None)

    def test_a_second_claimant_is_refused(self) -> None:
        """A claim that another owner holds is refused, and stays as it was."""
        with self.clients() as (key, one, other):
            first = claimed(one, key)
            second = claimed(other, key, "second")
            assert not second.granted
            assert (second.taken_from, second.taken_intent) == ("", "")
            assert without_ages(second.record) == without_ages(first.record)
            assert without_ages(one.read(key)) == without_ages(first.record)

    def test_an_own_claim_is_granted_again(self) -> None:
        """The owner of a claim gets it again: with a higher fence, from age 0, with the intent."""
        with self.clients() as (key, one, other):
            first = claimed(one, key)
            passed = self.advance(10.0)
            again = claimed(other, key, intent="another")
            assert again.granted
            assert (again.taken_from, again.taken_intent) == ("", "")
            assert again.record.fence > first.record.fence
            assert again.record.intent == "another"
            assert is_about(again.record.claim_age_seconds, 0.0)
            assert again.record.claim_age_seconds < max(passed, 5.0)

    def test_a_claim_is_taken_over_by_its_age(self) -> None:
        """A claim is taken over once it is as old as the claimant demands, and not before."""
        with self.clients() as (key, one, other):
            first = claimed(one, key, intent="refresh")
            passed = self.advance(10.0)
            assert is_about(one.read(key).claim_age_seconds, passed)
            assert not claimed(other, key, "second", older_than_seconds=passed + 3600).granted
            taken = claimed(other, key, "second", older_than_seconds=passed / 2)
            assert taken.granted
            assert (taken.taken_from, taken.taken_intent) == ("first", "refresh")
            assert (taken.record.owner, taken.record.intent) == ("second", "intent of second")
            assert taken.record.fence > first.record.fence
            assert is_about(taken.record.claim_age_seconds, 0.0)
            assert not claimed(one, key, older_than_seconds=3600).granted

    def test_a_claim_does_not_expire(self) -> None:
        """A claim stays, however old it is, until it is taken over or released."""
        with self.clients() as (key, one, other):
            claimed(one, key)
            passed = self.advance(10 * 86400.0)
            seen = other.read(key)
            assert (seen.owner, seen.intent) == ("first", "intent of first")
            assert not claimed(other, key, "second", older_than_seconds=passed + 3600).granted

    def test_a_claim_at_age_zero(self) -> None:
        """Claimants that demand no age take over at once."""
        with self.clients() as (key, one, other):
            claimed(one, key)
            assert claimed(other, key, "second", older_than_seconds=0.0).granted

    def test_a_claim_of_another_generation(self) -> None:
        """A claimant that has not seen the latest generation is refused, and learns it."""
        with self.clients() as (key, one, other):
            assert published(one, key, generation=4)
            for generation in (0, 3, 5):
                answer = claimed(other, key, "second", generation=generation)
                assert not answer.granted, generation
                assert (answer.record.generation, answer.record.sealed) == (4, b"token")
            assert not other.read(key).is_claimed
            assert claimed(other, key, "second", generation=4).granted
            again = claimed(one, key, "second", generation=3)
            assert not again.granted, "the owner of a claim must know the generation too"

    def test_a_claim_keeps_token_and_failure(self) -> None:
        """A claim changes neither the token nor the failure."""
        with self.clients() as (key, one, other):
            published(one, key, age_seconds=100.0)
            fence = claimed(one, key, generation=1).record.fence
            one.fail(key, owner="first", fence=fence, sealed=b"why")
            record = claimed(other, key, "second", generation=1).record
            assert (record.sealed, record.lifetime_seconds) == (b"token", 3600.0)
            assert is_about(record.age_seconds, 100.0)
            assert record.failure is not None
            assert record.failure.sealed == b"why"

    def test_a_failure_is_shared(self) -> None:
        """A failure releases the claim, begins at age 0 and keeps the token and the fence."""
        with self.clients() as (key, one, other):
            published(one, key)
            fence = claimed(one, key, generation=1).record.fence
            assert one.fail(key, owner="first", fence=fence, sealed=b"why")
            passed = self.advance(10.0)
            record = other.read(key)
            assert record.failure is not None
            assert record.failure.sealed == b"why"
            assert is_about(record.failure.age_seconds, passed)
            assert (record.owner, record.intent, record.fence) == ("", "", fence)
            assert record.claim_age_seconds == float("inf")
            assert (record.generation, record.sealed) == (1, b"token")

    def test_a_failure_without_a_request(self) -> None:
        """Without a new failure the claim is released, and the failure before stays."""
        with self.clients() as (key, one, other):
            fence = claimed(one, key).record.fence
            assert one.fail(key, owner="first", fence=fence, sealed=None)
            record = other.read(key)
            assert (record.failure, record.is_claimed) == (None, False)
            fence = claimed(one, key).record.fence
            one.fail(key, owner="first", fence=fence, sealed=b"why")
            fence = claimed(one, key).record.fence
            assert one.fail(key, owner="first", fence=fence, sealed=None)
            record = other.read(key)
            assert record.failure is not None
            assert (record.failure.sealed, record.is_claimed) == (b"why", False)

    def test_a_failure_of_another_claim(self) -> None:
        """A failure has no effect unless owner and fence are those of the claim."""
        with self.clients() as (key, one, other):
            assert not one.fail(key, owner="first", fence=0, sealed=b"why")
            assert not one.fail(key, owner="", fence=0, sealed=b"why")
            assert without_ages(one.read(key)) == without_ages(one.read(new_key()))
            old = claimed(one, key).record.fence
            fence = claimed(one, key).record.fence
            before = without_ages(other.read(key))
            for owner, number in (("first", old), ("second", fence), ("", fence), ("first", 0)):
                assert not other.fail(key, owner=owner, fence=number, sealed=b"why")
            assert without_ages(other.read(key)) == before
            assert one.fail(key, owner="first", fence=fence, sealed=b"why")
            assert not one.fail(key, owner="first", fence=fence, sealed=b"again")
            assert not one.fail(key, owner="", fence=fence, sealed=b"again")
            failure = other.read(key).failure
            assert failure is not None
            assert failure.sealed == b"why"

    def test_fences_grow(self) -> None:
        """Each grant has a higher fence than all before, also after a release."""
        with self.clients() as (key, one, other):
            fences = [claimed(one, key).record.fence]
            one.fail(key, owner="first", fence=fences[-1], sealed=None)
            fences.append(claimed(other, key, "second").record.fence)
            published(other, key, owner="second")
            fences.append(claimed(one, key, generation=1).record.fence)
            one.forget(key)
            fences.append(claimed(one, key, generation=2).record.fence)
            assert fences == sorted(set(fences))

    def test_one_of_many_claims_is_granted(self) -> None:
        """Of many threads that claim at once, exactly one is granted, and all others see it."""
        with self.clients() as (_, one, other):
            for _ in range(ROUNDS):
                key = new_key()

                def claim(number: int, key: str = key) -> Claim:
                    return claimed((one, other)[number % 2], key, f"owner {number}")

                try:
                    answers = at_once(*(partial(claim, number) for number in range(THREADS)))
                    assert sum(answer.granted for answer in answers) == 1
                    assert len({answer.record.owner for answer in answers}) == 1
                finally:
                    one.forget(key, entirely=True)

    def test_one_of_many_takes_over(self) -> None:
        """Of many threads that take over an old claim at once, exactly one is granted."""
        with self.clients() as (key, one, other):
            claimed(one, key, "dead")
            passed = self.advance(3600.0)
            if passed < 60.0:
                return  # the clock can't be advanced: the claim of the first would look old as well

            def take(number: int) -> Claim:
                client = (one, other)[number % 2]
                return claimed(client, key, f"owner {number}", older_than_seconds=passed / 2)

            answers = at_once(*(partial(take, number) for number in range(THREADS)))
            assert [each.taken_from for each in answers if each.granted] == ["dead"]
