"""A few daemon threads that do what they are handed, made when needed and gone when idle.

``concurrent.futures`` has a pool, but the interpreter waits for its threads at exit, and a server
that hangs would hold up the end of the process. Bare locks and a ``SimpleQueue`` make it safe from
exceptions that signal handlers raise; see flight.py.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue

from tokenkeeper._runtime.gevent import check_gevent
from tokenkeeper._runtime.waiting import join
from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["Workers"]

_log = logging.getLogger("tokenkeeper.workers")

IDLE_SECONDS = 10.0


class Workers:
    """An elastic pool of daemon threads. Thread-safe.

    The threads hold the pool and the job at hand, nothing else: whoever owns the pool can be
    collected while they idle.

    :param limit: threads at most. Jobs beyond that wait their turn.
    :param name: of the threads.
    """

    def __init__(self, limit: float, name: str = "tokenkeeper-worker") -> None:
        self._limit = limit
        self._name = name
        self._calls: SimpleQueue[None] = SimpleQueue()  # one to the idle for each job
        self._lock = threading.Lock()  # guards all of the below
        self._urgent: deque[Callable[[], None]] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], None], *, urgent: bool = True) -> None:
        """Have *job* done soon; an *urgent* one before those that wait already.

        :raises RuntimeError: if there is no thread and none can be started; also if there are only
            busy ones while the interpreter ends.
        :raises InvalidConfigurationError: if gevent or eventlet patched the process too late.
        """
        check_gevent()
        with self._lock:
            if self._closed:
                raise RuntimeError("the workers have been sent home")
            # The call first: one without a job does no harm, but a job without one would lie there.
            self._calls.put(None)
            queue = self._urgent if urgent else self._jobs
            queue.append(job)
            waiting = len(self._urgent) + len(self._jobs)
            if waiting > self._idle and len(self._threads) < self._limit:
                self._hire(queue)

    def _hire(self, queue: deque[Callable[[], None]]) -> None:
        """Start one more thread, or take back the last job of *queue*. Called with the lock."""
        thread: threading.Thread | None = None
        try:  # an isolated sub-interpreter refuses a daemon thread before it is started
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.add(thread)
            thread.start()
        except RuntimeError:  # no threads on this host, or none any more
            # The others may all be busy, but they are not for ever, unless the interpreter ends.
            if not self._threads - {thread} or not threading.main_thread().is_alive():
                queue.pop()
                raise
        finally:
            if thread is not None and thread.ident is None:  # it did not start
                self._threads.discard(thread)

    def _work(self) -> None:
        while job := self._next_job():
            try:
                job()
            except BaseException:  # noqa: BLE001 - the next job is not to blame
                _log.exception("a job of the keeper failed; please report this as a bug")
            del job  # it holds a keeper, which must not live on while this thread idles

    def _next_job(self) -> Callable[[], None] | None:
        with self._lock:
            self._idle += 1
        called = True
        while True:
            try:
                self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                called = False
            # Whether to go is decided, and made known, in one step: submit() counts on the idle.
            with self._lock:
                if self._urgent or self._jobs:
                    self._idle -= 1
                    return (self._urgent or self._jobs).popleft()
                if self._closed or not called:
                    self._idle -= 1
                    self._threads.discard(threading.current_thread())
                    return None

    def close(self, timeout: float, *, finish: bool = False) -> None:
        """End the threads; wait for them *timeout* seconds in total.

        :param finish: do the jobs that have not begun; they are dropped otherwise.
        """
        with self._lock:
            self._closed = True
            if not finish:
                self._urgent.clear()
                self._jobs.clear()
            myself = threading.get_ident()  # a job may close the pool that it runs in
            threads = [thread for thread in self._threads if thread.ident not in (None, myself)]
            for _ in self._threads:
                self._calls.put(None)
        ends = SYSTEM_CLOCK.monotonic() + timeout
        for thread in threads:
            remaining = ends - SYSTEM_CLOCK.monotonic()
            if remaining > 0:
                join(thread, remaining)
