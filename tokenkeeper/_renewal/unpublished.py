"""Tokens that are not in the store yet, because it could not be used when they were granted.

Only tokens of grants that work once come here: their refresh tokens are the only good ones.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._runtime.background import Background
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError

__all__ = ["Unpublished"]

RETRY_SECONDS = 0.25
GIVE_UP_SECONDS = 600.0
"""How often, and for how long, a token is offered to a store that can't be used."""


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
        self._lock = threading.Lock()  # guards the entries
        self._entries: dict[str, _Entry] = {}

    def add(self, key: str, name: str, token: CachedToken, replaces: int) -> None:
        """Store *token* as soon as the store can be used.

        Without a thread that can wait for it, the next renewal or :meth:`store_all` does it.
        """
        with self._lock:
            self._entries[key] = _Entry(name, token, replaces)
        job: Callable[[], None] = partial(self._store_in_time, key)
        self._background.work(job, urgent=True)

    def store_all(self) -> bool:
        """Store all of them; return whether none is left. Raises nothing."""
        return all(map(self._store, list(self._entries)))

    def _store_in_time(self, key: str) -> None:
        give_up_at = self._clock.monotonic() + GIVE_UP_SECONDS
        while not self._store(key):
            closed = self._clock.wait(self._background.closing, RETRY_SECONDS)
            if closed or self._clock.monotonic() >= give_up_at:
                return

    def _store(self, key: str) -> bool:
        """Store the token of *key*; return whether none is left to be stored."""
        with self._lock:
            entry = self._entries.get(key)
        if entry is None:
            return True
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
