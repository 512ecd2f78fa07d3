"""The threads of one keeper: started when needed, stopped together."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable

from tokenkeeper._runtime.fork import notice_fork
from tokenkeeper._runtime.open_waits import OpenWaits
from tokenkeeper._runtime.scheduler import Scheduler
from tokenkeeper._runtime.uwsgi import is_uwsgi_master
from tokenkeeper._runtime.waiting import InterruptibleEvent
from tokenkeeper._runtime.workers import Workers
from tokenkeeper.clock import Clock

__all__ = ["Background"]

_log = logging.getLogger("tokenkeeper.background")

TRUSTED_SECONDS = 0.1
"""How long a running scheduler is taken for granted. Looking up the process id costs readers inside
the buffer more than all the rest, and only a fork in C makes it necessary."""


class Background:
    """A scheduler, its workers, and the event that ends all waits. Thread-safe.

    It holds neither tokens nor providers. A keeper that is dropped can therefore be collected, even
    if a provider holds that keeper itself.

    :param enabled: whether there are threads at all.
    :param limit: the most workers at once.
    :param renew: called with the key of each token that is due; must not keep a keeper alive.
    :param look: called by the scheduler whenever it wakes; likewise.
    :ivar trusted_until: until then, on the clock, readers inside the buffer need not call
        :meth:`ensure_running`: it returned ``True`` a moment ago.
    :ivar closing: set when the keeper closes.
    :ivar open_waits: the waits of callers that end then, too.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        limit: int,
        clock: Clock,
        renew: Callable[[str], None],
        look: Callable[[], None],
    ) -> None:
        self._enabled = enabled
        self._limit = limit
        self._clock = clock
        self._renew = renew
        self._look = look
        self.after_fork_in_child()

    @property
    def is_enabled(self) -> bool:
        """``False`` without threads, once the host refused to start one, and in a uWSGI master."""
        return self._enabled and not is_uwsgi_master()

    def after_fork_in_child(self) -> None:
        """Start over: the threads stayed with the parent."""
        # Callers that renew inline wait on it between retries, and may be interrupted there.
        self.closing: threading.Event = InterruptibleEvent()
        self.open_waits: OpenWaits = OpenWaits()
        self.workers: Workers = Workers(self._limit)
        # As many as the workers wait for, so these are at most a few for each worker.
        self._nested = Workers(math.inf)
        # As many as there are hooks: one that hangs keeps its thread, and blocks nothing else.
        self._notifiers = Workers(math.inf, "tokenkeeper-notifier")
        self.scheduler: Scheduler = Scheduler(self._clock, self._renew, self._look)
        self.trusted_until: float = -math.inf
        self._chores: dict[str, Callable[[], None]] = {}

    def plan(self, chore: str, due_at: float, call: Callable[[], None]) -> None:
        """Have *call* made by a worker at *due_at*, in place of an earlier one of that name.

        :param chore: a name that is not a token's.
        """
        self._chores[chore] = call
        self.scheduler.schedule(chore, due_at)

    def do_chore(self, chore: str) -> bool:
        """Do what was planned under that name; ``False`` if nothing was. For the scheduler."""
        call = self._chores.pop(chore, None)
        if call is not None and not self.work(call, urgent=False):
            call()
        return call is not None

    def notify(self, call: Callable[[], None]) -> bool:
        """Have *call* made on a thread that no caller waits for; ``False`` if there is none."""
        return self.is_enabled and _submitted(self._notifiers, call)

    def work(self, job: Callable[[], None], *, urgent: bool, nested: bool = False) -> bool:
        """Have *job* done by a worker; ``False`` if this host has no thread for it.

        :param urgent: do it before the jobs that wait already.
        :param nested: whether a worker waits for it, so that it needs a further thread; ``False``
            by default.
        :raises InvalidConfigurationError: if gevent or eventlet patched the process too late.
        """
        workers = self._nested if nested else self.workers
        return self.is_enabled and _submitted(workers, job, urgent=urgent)

    @property
    def is_running(self) -> bool:
        """Whether the scheduler's thread runs."""
        return self.is_enabled and self.scheduler.is_running

    def ensure_running(self) -> bool:
        """Start the scheduler's thread if it should run and does not; return whether it runs.

        A reader inside the buffer calls this now and then, takes no lock for it, and goes on with
        its token.
        """
        notice_fork()  # or the thread of a parent would seem to run here
        if self.is_running:
            self.trusted_until = self._clock.monotonic() + TRUSTED_SECONDS
            return True
        if self.is_enabled:
            self._start()
        return self.is_enabled

    def _start(self) -> None:
        try:
            self.scheduler.start()
        except RuntimeError:
            self._enabled = False
            if threading.main_thread().is_alive():  # otherwise the interpreter is only ending
                _log.warning("this host starts no threads: tokens are renewed inline instead")

    def go_inline(self, timeout: float) -> None:
        """Stop the threads, so that callers renew inline from now on."""
        self._enabled = False
        self.trusted_until = -math.inf
        self.stop(timeout)

    def close(self, timeout: float) -> None:
        """Stop the threads and end all waits, also those for a retry. Idempotent."""
        self.closing.set()
        self.open_waits.end()
        self.stop(timeout)

    def stop(self, timeout: float) -> None:
        """Stop all threads; wait for each kind *timeout* seconds. Idempotent."""
        self.scheduler.close(timeout)
        self.workers.close(timeout)
        self._nested.close(timeout)
        self._notifiers.close(timeout, finish=True)


def _submitted(workers: Workers, job: Callable[[], None], *, urgent: bool = True) -> bool:
    try:
        workers.submit(job, urgent=urgent)
    except RuntimeError:  # this host has no thread to give, or no longer
        return False
    return True
