"""What the tests of the contract share: two clients of one store, a key, and its clock."""

from __future__ import annotations

import math
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from tokenkeeper.stores.base import Claim, Record, TokenStore

__all__ = ["Clients", "ContractTests", "at_once", "claimed", "is_about", "published"]

LONGEST_PAUSE_SECONDS = 0.05
"""How long a test waits in real time, if the store's clock can't be advanced."""

SLACK_SECONDS = 0.02
"""By how much a store may round an age."""

GUARD_SECONDS = 30.0
"""After this time, a thread or a child hangs, and the test fails. No age may be off by more."""

_T = TypeVar("_T")


class Clients(NamedTuple):
    """Two clients of one store, and an unused key."""

    key: str
    one: TokenStore
    other: TokenStore


class ContractTests:
    """What you write for the tests of your store."""

    is_shared = True

    def make_store(self) -> TokenStore:
        """Return a new client of the store. All of one test must see the same data."""
        raise NotImplementedError(f"{type(self).__name__}.make_store() must return a store")

    def make_unavailable_store(self) -> TokenStore | None:
        """Return a client of a store that can't be used, such as one behind a closed port.

        ``None``, the default, leaves out the test of errors.
        """
        return None

    def advance(self, seconds: float) -> float:
        """Let *seconds* pass on the store's clock, and return how many seconds passed.

        The default can't do that, and waits in real time for at most 0.05 s instead.
        """
        pause = min(seconds, LONGEST_PAUSE_SECONDS)
        threading.Event().wait(pause)
        return pause

    @contextmanager
    def clients(self) -> Iterator[Clients]:
        """Yield two clients and a new key, whose record is removed when the block ends."""
        one, other = self.make_store(), self.make_store()
        key = new_key()
        try:
            yield Clients(key, one, other)
        finally:
            one.forget(key, entirely=True)
            one.close()
            other.close()


def new_key() -> str:
    """Return a key that no other test uses."""
    return f"contract-{secrets.token_hex(16)}"


def claimed(
    store: TokenStore,
    key: str,
    owner: str = "first",
    *,
    generation: int = 0,
    older_than_seconds: float = 3600.0,
    intent: str = "",
) -> Claim:
    """Claim *key* as *owner* does, with usual values, and return the answer."""
    return store.claim(
        key,
        owner=owner,
        generation=generation,
        older_than_seconds=older_than_seconds,
        intent=intent or f"intent of {owner}",
    )


def published(
    store: TokenStore,
    key: str,
    sealed: bytes = b"token",
    *,
    owner: str = "first",
    replaces: int = 0,
    generation: int = 0,
    lifetime_seconds: float = 3600.0,
    age_seconds: float = 0.0,
    keep: bool = False,
) -> bool:
    """Publish *sealed* with usual values, and return the answer.

    :param generation: by default the one after *replaces*.
    """
    return store.publish(
        key,
        owner=owner,
        replaces=replaces,
        generation=generation or replaces + 1,
        sealed=sealed,
        lifetime_seconds=lifetime_seconds,
        age_seconds=age_seconds,
        keep=keep,
    )


def is_about(age_seconds: float, least: float) -> bool:
    """Return whether an age is *least*, give or take what a busy machine adds to it."""
    return least - SLACK_SECONDS <= age_seconds <= least + GUARD_SECONDS


def without_ages(record: Record) -> tuple[object, ...]:
    """Return what of *record* does not change as time passes."""
    failure = record.failure
    return (
        record.generation,
        record.sealed,
        record.lifetime_seconds,
        math.isinf(record.age_seconds),
        record.fence,
        record.owner,
        math.isinf(record.claim_age_seconds),
        record.intent,
        failure and failure.sealed,
    )


def at_once(*jobs: Callable[[], _T]) -> list[_T]:
    """Run *jobs* on a thread each, all at the same time, and return their results.

    :raises AssertionError: if one of them raised or hangs.
    """
    results: list[_T] = []
    errors: list[BaseException] = []
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], _T]) -> None:
        try:
            start.wait(GUARD_SECONDS)
            results.append(job())
        except BaseException as error:  # noqa: BLE001 - it is reported below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(GUARD_SECONDS)
    if errors or len(results) != len(jobs):
        raise AssertionError(f"{len(jobs)} threads: {len(results)} results, {errors!r}")
    return results
