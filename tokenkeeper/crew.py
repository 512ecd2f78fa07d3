"""The threads of one keeper, which begin when needed and end together."""

from __future__ import annotations

import threading
from collections.abc import Callable

from tokenkeeper.clock import Clock
from tokenkeeper.refresher import Refresher
from tokenkeeper.workers import Workers

__all__ = ["Crew"]


class Crew:
    """A refresher, its workers, and the event that tells them to go. Thread-safe.

    It holds neither tokens nor providers. The collector can therefore end it when nobody holds
    its keeper any more, even if a provider holds that keeper itself.

    :param limit: workers at most.
    :param renew: called with the key of each token that is due; must not keep a keeper alive.
    """

    def __init__(self, limit: int, clock: Clock, renew: Callable[[str], None]) -> None:
        self._limit = limit
        self._clock = clock
        self._renew = renew
        self.assemble()

    def assemble(self) -> None:
        """Begin anew, in a forked child: its threads stayed with the parent."""
        self.leaving = threading.Event()
        self.workers = Workers(self._limit)
        self.refresher = Refresher(self._clock, self._renew)

    def leave(self, timeout: float) -> None:
        """End all that they do, waits for a retry included. Idempotent."""
        self.leaving.set()
        self.dismiss(timeout)

    def dismiss(self, timeout: float) -> None:
        """End all threads; wait for each kind *timeout* seconds. Idempotent."""
        self.refresher.close(timeout)
        self.workers.close(timeout)
