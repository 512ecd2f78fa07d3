"""A store in memory: for refresh tokens that are kept nowhere else, and for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.stores.base import NO_RECORD, Claim, Record
from tokenkeeper.stores.entry import Entry

__all__ = ["MemoryTokenStore"]

DROPPED_AFTER_SECONDS = 24 * 3600.0
"""How long after its expiry a record is kept at least, as in the other stores."""

MOST_UNSEEN = 1000
"""Up to this many records, none is dropped."""


class MemoryTokenStore:
    """A :class:`~tokenkeeper.stores.TokenStore` in the memory of one process. Thread-safe.

    It shares tokens between keepers of that process. In tests, pass one store to two keepers, and
    they behave as two processes of a fleet. After a fork, the child has a copy of it.

    :param clock: the source of time; by default the system's clocks.
    """

    is_private = True
    """No other process can read it, so it needs no key."""

    label = "memory"
    """What it is called in events and in ``health()``."""

    def __init__(self, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._look_beyond = MOST_UNSEEN
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Replace the lock, which a thread of the parent may have held. The records are copied."""
        self._lock = threading.Lock()  # guards the entries

    def read(self, key: str) -> Record:
        """Return the record of *key*; an empty one if there is none."""
        with self._lock:
            entry = self._entries.get(key)
            return NO_RECORD if entry is None else entry.record(self._clock.monotonic())

    def claim(
        self, key: str, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Claim the right to request the next token of *key*."""
        with self._lock:
            entry = self._entries.get(key, Entry())
            answer = entry.claim(
                self._clock.monotonic(),
                owner=owner,
                generation=generation,
                older_than_seconds=older_than_seconds,
                intent=intent,
            )
            if answer.granted:
                self._entries[key] = entry
            return answer

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
            self._drop_old()
            entry = self._entries.get(key, Entry())
            published = entry.publish(
                self._clock.monotonic(),
                owner=owner,
                replaces=replaces,
                generation=generation,
                sealed=sealed,
                lifetime_seconds=lifetime_seconds,
                age_seconds=age_seconds,
                keep=keep,
            )
            if published:
                self._entries[key] = entry
            return published

    def fail(self, key: str, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim, and share why there is no token; return whether *owner* held it."""
        with self._lock:
            entry = self._entries.get(key, Entry())
            return entry.fail(self._clock.monotonic(), owner=owner, fence=fence, sealed=sealed)

    def forget(self, key: str, *, entirely: bool = False) -> bool:
        """Remove the token and the failure of *key*; return whether there was a token."""
        with self._lock:
            entry = self._entries.get(key, Entry())
            if entirely:
                self._entries.pop(key, None)
            return entry.forget()

    def keys(self) -> Iterable[str]:
        """Return the keys of all records."""
        with self._lock:
            return list(self._entries)

    def _drop_old(self) -> None:
        """Drop what expired long ago, now and then. Called with the lock held.

        Most tokens are requested again under the same key. A sign-in has a key of its own, and a
        visitor may begin many.
        """
        if len(self._entries) <= self._look_beyond:
            return
        now = self._clock.monotonic()
        for key, entry in list(self._entries.items()):
            drop_at = entry.sent_at + entry.lifetime_seconds + DROPPED_AFTER_SECONDS
            # One without a token was forgotten: its generation keeps others from restoring it.
            has_use = entry.keep or entry.owner or entry.sealed is None
            if not has_use and now >= drop_at:
                del self._entries[key]
        self._look_beyond = max(MOST_UNSEEN, 2 * len(self._entries))

    def close(self) -> None:
        """Do nothing: there is no connection."""
