"""Tokens that the store may not have: it could not be used, or may lose them.

Only tokens of grants that work once come here: their refresh tokens are the only good ones. A
store that fails over to a replica comes back without its last writes, so each token is looked for
once more a moment after it was stored.
"""

from __future__ import annotations

import itertools
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


CHORE = "\nunpublished"
"""How the scheduler's name for it begins: not a token's, as those don't begin with a line end."""

_numbers = itertools.count(1)

CONFIRM_SECONDS = 2.0
"""How long after it was stored a token is looked for once more."""


class _Entry(NamedTuple):
    """A token to be stored.

    :ivar replaces: the generation that it replaces; ``None`` if it was stored, and is looked for.
    :ivar due_at: when that is to be done, on the keeper's monotonic clock.
    """

    name: str
    token: CachedToken
    replaces: int | None
    due_at: float


class Unpublished:
    """Stores what could not be stored, as soon as that is possible. Thread-safe."""

    def __init__(self, fleet: Fleet, background: Background, clock: Clock) -> None:
        self._fleet = fleet
        self._background = background
        self._clock = clock
        # A keeper has several: for its store, and for the custody of a provider.
        self._chore = f"{CHORE} {next(_numbers)}"
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Leave them to the parent, which goes on trying."""
        self._lock = threading.Lock()  # guards the entries
        self._entries: dict[str, _Entry] = {}

    def add(self, key: str, name: str, token: CachedToken, replaces: int) -> None:
        """Store *token* as soon as the store can be used."""
        self._put(key, _Entry(name, token, replaces, self._clock.monotonic()))

    def confirm(self, key: str, name: str, token: CachedToken) -> None:
        """Look for *token*, which was stored just now, a moment later; store it if it is gone."""
        due_at = self._clock.monotonic() + CONFIRM_SECONDS
        self._put(key, _Entry(name, token, None, due_at))

    def _put(self, key: str, entry: _Entry) -> None:
        with self._lock:
            self._entries[key] = entry
            self._plan()

    def _plan(self) -> None:
        """Have the next entry done when it is due. Called with the lock held.

        Without it, a thread that saw fewer entries could plan a later time in place of an earlier.
        """
        due_at = min((entry.due_at for entry in self._entries.values()), default=None)
        if due_at is not None:
            soon = self._clock.monotonic() + RETRY_SECONDS
            self._background.plan(self._chore, max(due_at, soon), self._do_due)

    def _do_due(self) -> None:
        now = self._clock.monotonic()
        with self._lock:
            due = [item for item in self._entries.items() if item[1].due_at <= now]
        for key, entry in due:
            self._store(key, entry)
        with self._lock:
            self._plan()

    def store_all(self) -> bool:
        """Store all that are not in the store; return whether none is left. Raises nothing."""
        with self._lock:
            entries = [item for item in self._entries.items() if item[1].replaces is not None]
        stored = [self._store(key, entry) for key, entry in entries]
        return all(stored)

    def _store(self, key: str, entry: _Entry) -> bool:
        """Store *entry*; return whether that is done."""
        name, token, replaces, _ = entry
        try:
            if replaces is None:
                view = self._fleet.read(name, key, insist=True)
                is_lost = view.generation < token.generation and view.unreadable is None
                # Later, another process may have a newer one, and the next renewal waits for it.
                if is_lost and self._clock.monotonic() < token.renew_at:
                    replaces = view.generation
            if replaces is not None and token.requested_at >= self._fleet.cleared_at(name):
                self._fleet.publish_newest(name, key, token, replaces=replaces, insist=True)
        except StoreUnavailableError:
            return False
        with self._lock:
            if self._entries.get(key) is entry:
                del self._entries[key]
        return True
