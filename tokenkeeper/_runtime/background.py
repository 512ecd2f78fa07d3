"""The threads of one keeper, which begin when needed and end together."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from tokenkeeper._runtime.fork import notice_fork
from tokenkeeper._runtime.scheduler import Scheduler
from tokenkeeper._runtime.waiting import InterruptibleEvent
from tokenkeeper._runtime.workers import Workers
from tokenkeeper.clock import Clock

__all__ = ["Background"]

_log = logging.getLogger("tokenkeeper.background")

TRUSTED_SECONDS = 0.1
"""How long a running refresher is taken for granted. Asking for the process id costs readers inside
the buffer more than all the rest, and only a fork in C makes it necessary."""


class Background:
    """A refresher, its workers, and the event that tells them to go. Thread-safe.

    It holds neither tokens nor providers. The collector can therefore end it when nobody holds
    its keeper any more, even if a provider holds that keeper itself.

    :param background: whether there are threads at all.
    :param limit: workers at most.
    :param renew: called with the key of each token that is due; must not keep a keeper alive.
    :param look: called by the refresher whenever it wakes; likewise.
    :ivar is_enabled: whether there still are: not where the host starts none.
    :ivar trusted_until: until when readers inside the buffer need not ask :meth:`ensure_running`,
        on the clock; it was true a moment ago.
    """

    def __init__(
        self,
        *,
        background: bool,
        limit: int,
        clock: Clock,
        renew: Callable[[str], None],
        look: Callable[[], None],
    ) -> None:
        self.is_enabled: bool = background
        self._limit = limit
        self._clock = clock
        self._renew = renew
        self._look = look
        self.assemble()

    def assemble(self) -> None:
        """Begin anew, in a forked child: its threads stayed with the parent."""
        # Callers that renew inline wait on it between retries, and may be interrupted there.
        self.leaving: threading.Event = InterruptibleEvent()
        self.workers: Workers = Workers(self._limit)
        # As many as there are hooks: one that hangs keeps its thread, and nothing else.
        self._notifiers = Workers(math.inf, "tokenkeeper-notifier")
        self.scheduler: Scheduler = Scheduler(self._clock, self._renew, self._look)
        self.trusted_until: float = -math.inf

    def notify(self, call: Callable[[], None]) -> bool:
        """Have *call* made on a thread that nobody waits for; ``False`` if there is none."""
        if not self.is_enabled:
            return False
        try:
            self._notifiers.submit(call)
        except RuntimeError:  # this host has no thread to give, or none any more
            return False
        return True

    def ensure_running(self) -> bool:
        """Say whether the refresher renews, and start it where it should and does not yet.

        A reader inside the buffer asks this now and then, takes no lock for it, and goes on with
        its token.
        """
        notice_fork()  # or the thread of a parent would seem to run here
        if not self.is_enabled:
            return False
        if self.scheduler.is_running:
            self.trusted_until = self._clock.monotonic() + TRUSTED_SECONDS
            return True
        try:
            self.scheduler.start()
        except RuntimeError:
            self.is_enabled = False
            if threading.main_thread().is_alive():  # else it is only the interpreter that ends
                _log.warning("this host starts no threads: tokens are renewed inline instead")
        return self.is_enabled

    def go_inline(self, timeout: float) -> None:
        """End the threads, so that who still asks renews inline."""
        self.is_enabled = False
        self.trusted_until = -math.inf
        self.dismiss(timeout)

    def leave(self, timeout: float) -> None:
        """End all that they do, waits for a retry included. Idempotent."""
        self.leaving.set()
        self.dismiss(timeout)

    def dismiss(self, timeout: float) -> None:
        """End all threads; wait for each kind *timeout* seconds. Idempotent."""
        self.scheduler.close(timeout)
        self.workers.close(timeout)
        self._notifiers.close(timeout, finish=True)
