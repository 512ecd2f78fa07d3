"""A store in memory, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.stores.base import NO_RECORD, Claim, Record, SharedFailure

__all__ = ["MemoryTokenStore"]


@dataclass
class _Entry:
    generation: int = 0
    sealed: bytes | None = None
    lifetime_seconds: float = 0.0
    sent_at: float = -float("inf")
    fence: int = 0
    owner: str = ""
    claimed_at: float = -float("inf")
    intent: str = ""
    failure: bytes | None = None
    failed_at: float = 0.0


class MemoryTokenStore:
    """A :class:`~tokenkeeper.stores.TokenStore` in the memory of one process. Thread-safe.

    It shares tokens between keepers of that process, which is enough for tests: pass one store to
    two keepers, and they behave as two processes of a fleet.

    :param clock: the source of time; by default the system's clocks.
    """

    is_private = True
    """No other process can read it, so it needs no key."""

    label = "memory"
    """What it is called in events and in ``health()``."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._lock = threading.Lock()  # guards the entries

    def read(self, key: str) -> Record:
        """Return the record of *key*; an empty one if there is none."""
        with self._lock:
            return self._record(key)

    def claim(
        self, key: str, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Claim the right to request the next token of *key*."""
        with self._lock:
            entry = self._entries.get(key, _Entry())
            age = self._clock.monotonic() - entry.claimed_at
            is_free = entry.owner in ("", owner) or age >= older_than_seconds
            if entry.generation != generation or not is_free:
                return Claim(False, self._record(key))
            taken = (entry.owner, entry.intent) if entry.owner not in ("", owner) else ("", "")
            self._entries[key] = entry
            entry.fence += 1
            entry.owner, entry.intent = owner, intent
            entry.claimed_at = self._clock.monotonic()
            return Claim(True, self._record(key), *taken)

    def publish(
        self,
        key: str,
        *,
        owner: str,
        replaces: int,
        generation: int,
        sealed: bytes,
        lifetime_seconds: float,
        age_seconds: float,
        keep: bool,
    ) -> bool:
        """Store a token if the record's generation is still *replaces*; return whether it was."""
        with self._lock:
            entry = self._entries.get(key, _Entry())
            if entry.generation != replaces:
                return False
            self._entries[key] = entry
            entry.generation, entry.sealed = generation, sealed
            entry.lifetime_seconds = lifetime_seconds
            entry.sent_at = self._clock.monotonic() - age_seconds
            entry.failure = None
            if entry.owner == owner:
                self._release(entry)
            return True

    def fail(self, key: str, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim, and share why there is no token; return whether *owner* held it."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or (entry.owner, entry.fence) != (owner, fence):
                return False
            self._release(entry)
            if sealed is not None:
                entry.failure, entry.failed_at = sealed, self._clock.monotonic()
            return True

    def forget(self, key: str, *, entirely: bool = False) -> bool:
        """Remove the token and the failure of *key*; return whether there was a token."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return False
            had_token = entry.sealed is not None
            if entirely:
                del self._entries[key]
            elif had_token or entry.failure is not None:
                entry.generation += 1
                entry.sealed, entry.lifetime_seconds = None, 0.0
                entry.sent_at = -float("inf")
                entry.failure = None
            return had_token

    def keys(self) -> Iterable[str]:
        """Return the keys of all records."""
        with self._lock:
            return list(self._entries)

    def close(self) -> None:
        """Do nothing: there is no connection."""

    @staticmethod
    def _release(entry: _Entry) -> None:
        entry.owner, entry.intent, entry.claimed_at = "", "", -float("inf")

    def _record(self, key: str) -> Record:
        """Return the record of *key*. Called with the lock held."""
        entry = self._entries.get(key)
        if entry is None:
            return NO_RECORD
        now = self._clock.monotonic()
        failure = None
        if entry.failure is not None:
            failure = SharedFailure(entry.failure, now - entry.failed_at)
        return Record(
            generation=entry.generation,
            sealed=entry.sealed,
            lifetime_seconds=entry.lifetime_seconds,
            age_seconds=now - entry.sent_at,
            fence=entry.fence,
            owner=entry.owner,
            claim_age_seconds=now - entry.claimed_at,
            intent=entry.intent,
            failure=failure,
        )
