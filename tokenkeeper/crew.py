"""The threads of one keeper, which begin when needed and end together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from tokenkeeper.clock import Clock
from tokenkeeper.fork import notice_fork
from tokenkeeper.refresher import Refresher
from tokenkeeper.waiting import InterruptibleEvent
from tokenkeeper.workers import Workers

__all__ = ["Crew"]

_log = logging.getLogger("tokenkeeper.crew")


class Crew:
    """A refresher, its workers, and the event that tells them to go. Thread-safe.

    It holds neither tokens nor providers. The collector can therefore end it when nobody holds
    its keeper any more, even if a provider holds that keeper itself.

    :param background: whether there are threads at all.
    :param limit: workers at most.
    :param renew: called with the key of each token that is due; must not keep a keeper alive.
    :ivar background: whether there still are: not where the host starts none.
    """

    def __init__(
        self, *, background: bool, limit: int, clock: Clock, renew: Callable[[str], None]
    ) -> None:
        self.background = background
        self._limit = limit
        self._clock = clock
        self._renew = renew
        self.assemble()

    def assemble(self) -> None:
        """Begin anew, in a forked child: its threads stayed with the parent."""
        # Callers that renew inline wait on it between retries, and may be interrupted there.
        self.leaving: threading.Event = InterruptibleEvent()
        self.workers = Workers(self._limit)
        self.refresher = Refresher(self._clock, self._renew)

    def in_background(self) -> bool:
        """Say whether the refresher renews, and start it where it should and does not yet.

        A reader inside the buffer asks this, takes no lock for it, and goes on with its token.
        """
        notice_fork()  # the thread of a parent seems to run here
        if self.refresher.is_running or not self.background:
            return self.background
        try:
            self.refresher.start()
        except RuntimeError:
            self.background = False
            if threading.main_thread().is_alive():  # else it is only the interpreter that ends
                _log.warning("this host starts no threads: tokens are renewed inline instead")
        return self.background

    def go_inline(self, timeout: float) -> None:
        """End the threads, so that who still asks renews inline."""
        self.background = False
        self.dismiss(timeout)

    def leave(self, timeout: float) -> None:
        """End all that they do, waits for a retry included. Idempotent."""
        self.leaving.set()
        self.dismiss(timeout)

    def dismiss(self, timeout: float) -> None:
        """End all threads; wait for each kind *timeout* seconds. Idempotent."""
        self.refresher.close(timeout)
        self.workers.close(timeout)
