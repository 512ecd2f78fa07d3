"""Tokens that are not in the store yet, because it could not be used when they were granted.

Only tokens of grants that work once come here: their refresh tokens are the only good ones.
"""

from __future__ import annotations

import threading
from typing import NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._runtime.background import Background
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError

__all__ = ["Unpublished"]

RETRY_SECONDS = 0.25
"""How often a token is offered to a store that can't be used. It must be there before another
process takes over the claim, so this does not grow."""


class _Entry(NamedTuple):
    name: str
    token: CachedToken
    replaces: int


class Unpublished:
    """Stores what could not be stored, as soon as that is possible. Thread-safe."""

    def __init__(self, fleet: Fleet, background: Background, clock: Clock) -> None:
        self._fleet = fleet
        self._background = background
        self._clock = clock
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Leave them to the parent, which goes on trying."""
        self._lock = threading.Lock()  # guards the two below
        self._entries: dict[str, _Entry] = {}
        self._has_worker = False

    def add(self, key: str, name: str, token: CachedToken, replaces: int) -> None:
        """Store *token* as soon as the store can be used.

        Without a thread that can wait for it, the next renewal or :meth:`store_all` does it.
        """
        with self._lock:
            self._entries[key] = _Entry(name, token, replaces)
            if self._has_worker:
                return
            self._has_worker = True
        if not self._background.work(self._store_in_time, urgent=True):
            self._has_worker = False

    def store_all(self) -> bool:
        """Store all of them; return whether none is left. Raises nothing."""
        with self._lock:
            entries = list(self._entries.items())
        return all(self._store(key, entry) for key, entry in entries)

    def _store_in_time(self) -> None:
        while not self._is_done():
            self.store_all()
            if self._clock.wait(self._background.closing, RETRY_SECONDS):
                return

    def _is_done(self) -> bool:
        with self._lock:
            self._has_worker = bool(self._entries)
            return not self._has_worker

    def _store(self, key: str, entry: _Entry) -> bool:
        """Store *entry*; return whether that is done."""
        name, token, replaces = entry
        try:
            if token.requested_at >= self._fleet.cleared_at(name):
                self._fleet.publish_newest(
                    name, key, token, replaces=replaces, keep=True, insist=True
                )
        except StoreUnavailableError:
            return False
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]
        return True
