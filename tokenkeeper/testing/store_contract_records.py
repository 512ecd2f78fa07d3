"""Tests of records: what is published, how old it is, and how it is forgotten."""
# ruff: noqa: S101 - these are tests

from __future__ import annotations

import math
from functools import partial

from tokenkeeper.stores.base import NO_RECORD, TokenStore
from tokenkeeper.testing.store_contract_base import (
    ContractTests,
    at_once,
    claimed,
    is_about,
    new_key,
    published,
    without_ages,
)

__all__ = ["RecordTests"]

CONTENTS = {
    "nothing": b"",
    "a zero byte": b"\0",
    "every byte": bytes(range(256)),
    "64 KiB": bytes(range(256)) * 256,
    "what is not UTF-8": b"\xff\xfe\x00\xd8",
    "what looks like a number": b"0123",
}

LONGEST_KEY = 200
THREADS = 8
ROUNDS = 3


class RecordTests(ContractTests):
    """Tokens, generations, ages and keys."""

    def test_it_is_a_store(self) -> None:
        """The store has all methods of the protocol."""
        with self.clients() as (_, one, _other):
            assert isinstance(one, TokenStore)

    def test_an_unknown_key(self) -> None:
        """The record of an unknown key is empty, and reading it creates nothing."""
        with self.clients() as (key, one, other):
            assert one.read(key) == NO_RECORD
            assert key not in set(other.keys())
            assert not one.forget(key)
            assert not one.forget(key, entirely=True)
            assert one.read(key) == NO_RECORD

    def test_a_token_is_published(self) -> None:
        """A token is stored with its lifetime and its age, and the other client sees it."""
        with self.clients() as (key, one, other):
            assert published(one, key, lifetime_seconds=1234.5, age_seconds=100.0)
            record = other.read(key)
            assert (record.generation, record.sealed) == (1, b"token")
            assert isinstance(record.sealed, bytes)
            assert math.isclose(record.lifetime_seconds, 1234.5, abs_tol=0.001)
            assert is_about(record.age_seconds, 100.0)
            assert (record.owner, record.intent, record.failure) == ("", "", None)

    def test_what_is_finite(self) -> None:
        """Ages are finite for what there is, and infinite for what there is not."""
        with self.clients() as (key, one, other):
            published(one, key)
            record = other.read(key)
            assert math.isfinite(record.age_seconds)
            assert math.isfinite(record.lifetime_seconds)
            assert record.claim_age_seconds == math.inf
            claimed(one, key, generation=1)
            assert math.isfinite(other.read(key).claim_age_seconds)

    def test_ages_grow(self) -> None:
        """The age of a token grows with the store's clock, from the age that was published."""
        with self.clients() as (key, one, other):
            published(one, key, age_seconds=100.0)
            passed = self.advance(60.0)
            grown = other.read(key).age_seconds
            assert is_about(grown, 100.0 + passed)
            assert is_about(one.read(key).age_seconds, 100.0 + passed)

    def test_an_expired_token_is_there(self) -> None:
        """A token older than its lifetime is kept at least for a moment."""
        with self.clients() as (key, one, other):
            published(one, key, lifetime_seconds=10.0, age_seconds=11.0, keep=True)
            record = other.read(key)
            assert record.sealed == b"token"
            assert is_about(record.age_seconds, 11.0)

    def test_kept_records_stay(self) -> None:
        """A record that must be kept is there long after its token's expiry."""
        with self.clients() as (key, one, other):
            published(one, key, lifetime_seconds=1.0, keep=True)
            self.advance(10 * 86400.0)
            new = new_key()
            try:
                published(one, new)  # a time for a store to clean up
                assert other.read(key).sealed == b"token"
            finally:
                one.forget(new, entirely=True)

    def test_a_token_is_replaced(self) -> None:
        """A token replaces the generation that its publisher knew, and the generation may jump."""
        with self.clients() as (key, one, other):
            published(one, key, b"old", age_seconds=50.0, lifetime_seconds=60.0)
            assert published(
                other, key, b"new", owner="second", replaces=1, generation=10, lifetime_seconds=7.0
            )
            record = one.read(key)
            assert (record.generation, record.sealed) == (10, b"new")
            assert record.lifetime_seconds == 7.0
            assert record.age_seconds < 50.0
            assert is_about(record.age_seconds, 0.0)

    def test_another_generation_is_not_replaced(self) -> None:
        """A token that replaces another generation than the latest is refused, without effect."""
        with self.clients() as (key, one, other):
            assert not published(one, key, replaces=3)
            assert one.read(key) == NO_RECORD
            published(one, key, b"old", generation=5)
            claimed(one, key, generation=5)
            before = without_ages(other.read(key))
            for replaces in (0, 4, 6):
                assert not published(other, key, b"new", replaces=replaces, generation=9)
            assert not published(one, key, b"new", replaces=4, generation=9), "even by the owner"
            assert without_ages(other.read(key)) == before

    def test_the_owner_releases_its_claim(self) -> None:
        """An owner that publishes releases its claim, and keeps the fence."""
        with self.clients() as (key, one, other):
            fence = claimed(one, key).record.fence
            assert published(one, key)
            record = other.read(key)
            assert (record.owner, record.intent, record.fence) == ("", "", fence)
            assert record.claim_age_seconds == math.inf

    def test_another_owner_keeps_its_claim(self) -> None:
        """A publisher without a claim is accepted, and does not release another's."""
        with self.clients() as (key, one, other):
            claim = claimed(one, key)
            assert published(other, key, owner="second")
            record = one.read(key)
            assert (record.generation, record.sealed) == (1, b"token")
            assert (record.owner, record.intent) == ("first", "intent of first")
            assert record.fence == claim.record.fence
            assert math.isfinite(record.claim_age_seconds)

    def test_a_token_ends_a_failure(self) -> None:
        """A published token forgets the failure; one that is refused does not."""
        with self.clients() as (key, one, other):
            fence = claimed(one, key).record.fence
            one.fail(key, owner="first", fence=fence, sealed=b"why")
            assert not published(one, key, replaces=7)
            assert other.read(key).failure is not None
            assert published(one, key)
            assert other.read(key).failure is None

    def test_a_token_is_forgotten(self) -> None:
        """Token and failure are forgotten, once; the generation grows, and the claim stays."""
        with self.clients() as (key, one, other):
            published(one, key, generation=4)
            fence = claimed(one, key, generation=4).record.fence
            assert one.forget(key)
            record = other.read(key)
            assert (record.generation, record.sealed, record.failure) == (5, None, None)
            assert (record.lifetime_seconds, record.age_seconds) == (0.0, math.inf)
            assert (record.owner, record.fence) == ("first", fence)
            assert record.intent == "intent of first"
            assert math.isfinite(record.claim_age_seconds)
            assert not one.forget(key)
            assert without_ages(other.read(key)) == without_ages(record)
            assert not published(one, key, b"from memory", replaces=4)
            assert published(one, key, b"new", replaces=5)

    def test_a_failure_is_forgotten(self) -> None:
        """A failure without a token is forgotten too, and the generation grows."""
        with self.clients() as (key, one, other):
            fence = claimed(one, key).record.fence
            one.fail(key, owner="first", fence=fence, sealed=b"why")
            assert not one.forget(key)
            record = other.read(key)
            assert (record.generation, record.failure, record.fence) == (1, None, fence)
            one.forget(key)
            assert other.read(key).generation == 1

    def test_a_claim_alone_is_not_forgotten(self) -> None:
        """A record with a claim and nothing else is left alone."""
        with self.clients() as (key, one, other):
            before = claimed(one, key).record
            assert not other.forget(key)
            assert without_ages(one.read(key)) == without_ages(before)

    def test_a_record_is_forgotten_entirely(self) -> None:
        """Afterwards the record is as if it never was, and can be used again."""
        with self.clients() as (key, one, other):
            published(one, key, generation=4)
            claimed(one, key, generation=4)
            assert other.forget(key, entirely=True)
            assert one.read(key) == NO_RECORD
            assert key not in set(one.keys())
            claimed(one, key)
            assert not other.forget(key, entirely=True)
            assert one.read(key) == NO_RECORD
            assert published(one, key, b"again")
            assert other.read(key).sealed == b"again"

    def test_keys(self) -> None:
        """All records have their keys listed, each once, whatever is in them."""
        with self.clients() as (key, one, other):
            second = new_key()
            try:
                published(one, key)
                claimed(one, second)
                found = list(other.keys())
                assert (found.count(key), found.count(second)) == (1, 1)
                assert all(isinstance(each, str) for each in found)
                one.forget(key)
                assert key in set(other.keys())
            finally:
                one.forget(second, entirely=True)

    def test_records_are_apart(self) -> None:
        """An operation on one key changes no other, not even one that begins with it."""
        with self.clients() as (key, one, other):
            keys = [f"{key}-2", f"{key}%", f"{key}*", f"{key}_"]
            try:
                for each in keys:
                    published(one, each, each.encode())
                published(one, key)
                claimed(one, key, generation=1)
                one.forget(key)
                one.forget(key, entirely=True)
                for each in keys:
                    record = other.read(each)
                    assert (record.sealed, record.is_claimed) == (each.encode(), False)
            finally:
                for each in keys:
                    one.forget(each, entirely=True)

    def test_long_keys(self) -> None:
        """Keys may have 200 characters, and differ in the last one."""
        with self.clients() as (key, one, other):
            base = f"{key}:/.~{{}}[]'\"\\".ljust(LONGEST_KEY - 1, "k")
            keys = [f"{base}a", f"{base}b"]
            try:
                for each in keys:
                    assert published(one, each, each.encode())
                assert [other.read(each).sealed for each in keys] == [k.encode() for k in keys]
                assert set(keys) <= set(other.keys())
            finally:
                for each in keys:
                    one.forget(each, entirely=True)

    def test_any_bytes(self) -> None:
        """Tokens and failures come back byte for byte."""
        with self.clients() as (key, one, other):
            for number, (name, content) in enumerate(CONTENTS.items()):
                assert published(one, key, content, replaces=number), name
                assert other.read(key).sealed == content, name
                fence = claimed(one, key, generation=number + 1).record.fence
                assert one.fail(key, owner="first", fence=fence, sealed=content), name
                failure = other.read(key).failure
                assert failure is not None, name
                assert failure.sealed == content, name

    def test_any_intent(self) -> None:
        """Owners and intents come back as they were, whatever is in them."""
        with self.clients() as (key, one, other):
            owner, intent = "host:1 é'\"\\%{}", "refresh, 100 % ünïcode; 'quoted' \\"
            assert claimed(one, key, owner, intent=intent).granted
            record = other.read(key)
            assert (record.owner, record.intent) == (owner, intent)
            taken = claimed(other, key, "second", older_than_seconds=0.0)
            assert (taken.taken_from, taken.taken_intent) == (owner, intent)

    def test_reading_changes_nothing(self) -> None:
        """A record is the same however often it is read."""
        with self.clients() as (key, one, other):
            published(one, key)
            claimed(one, key, generation=1)
            before = without_ages(one.read(key))
            for _ in range(5):
                assert without_ages(other.read(key)) == before
                list(other.keys())
            assert without_ages(one.read(key)) == before

    def test_one_of_many_publishes(self) -> None:
        """Of many threads that replace the same generation at once, exactly one succeeds."""
        with self.clients() as (key, one, other):
            for replaces in range(ROUNDS):

                def publish(number: int, replaces: int = replaces) -> bytes | None:
                    client, sealed = (one, other)[number % 2], b"token %d" % number
                    owner = f"owner {number}"
                    won = published(client, key, sealed, owner=owner, replaces=replaces)
                    return sealed if won else None

                answers = at_once(*(partial(publish, number) for number in range(THREADS)))
                winners = [each for each in answers if each is not None]
                assert len(winners) == 1
                record = one.read(key)
                assert (record.generation, record.sealed) == (replaces + 1, winners[0])
