"""A pool of daemon threads, which start when needed and end when idle.

``concurrent.futures`` has a pool, but the interpreter waits for its threads at exit, so a server
that hangs would delay the end of the process. Bare locks and a ``SimpleQueue`` make this pool safe
from exceptions that signal handlers raise; see :mod:`tokenkeeper._runtime.waiting`.
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

    The threads refer to the pool and to their current job only, so the owner of the pool can be
    collected while they are idle.

    :param limit: the most threads at once. Further jobs wait in a queue.
    :param name: the name of the threads.
    """

    def __init__(self, limit: float, name: str = "tokenkeeper-worker") -> None:
        self._limit = limit
        self._name = name
        self._calls: SimpleQueue[None] = SimpleQueue()  # wakes an idle thread for each job
        self._lock = threading.Lock()  # guards all of the below
        self._urgent: deque[Callable[[], None]] = deque()
        self._jobs: deque[Callable[[], None]] = deque()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False

    def submit(self, job: Callable[[], None], *, urgent: bool = True) -> None:
        """Run *job* soon, before the waiting jobs if it is *urgent*.

        :raises RuntimeError: if there is no thread and none can be started; also if all threads
            are busy while the interpreter exits.
        :raises InvalidConfigurationError: if gevent or eventlet patched the process too late.
        """
        check_gevent()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            # The call comes first: a call without a job is harmless, a job without one would wait.
            self._calls.put(None)
            queue = self._urgent if urgent else self._jobs
            queue.append(job)
            waiting = len(self._urgent) + len(self._jobs)
            if waiting > self._idle and len(self._threads) < self._limit:
                self._hire(queue)

    def _hire(self, queue: deque[Callable[[], None]]) -> None:
        """Start one more thread, or remove the last job of *queue*. Called with the lock held."""
        thread: threading.Thread | None = None
        try:  # an isolated sub-interpreter refuses a daemon thread before it is started
            thread = threading.Thread(target=self._work, name=self._name, daemon=True)
            self._threads.add(thread)
            thread.start()
        except RuntimeError:  # this host can't start a thread, or can't any more
            # Busy threads will take the job later, unless the interpreter exits.
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
            except BaseException:  # noqa: BLE001 - the next job must run anyway
                _log.exception("a job of the keeper failed; please report this as a bug")
            del job  # it refers to a keeper, which an idle thread must not keep alive

    def _next_job(self) -> Callable[[], None] | None:
        with self._lock:
            self._idle += 1
        called = True
        while True:
            try:
                self._calls.get(timeout=IDLE_SECONDS)
            except Empty:
                called = False
            # The thread decides to leave and stops counting as idle in one step, because submit()
            # relies on the number of idle threads.
            with self._lock:
                if self._urgent or self._jobs:
                    self._idle -= 1
                    return (self._urgent or self._jobs).popleft()
                if self._closed or not called:
                    self._idle -= 1
                    self._threads.discard(threading.current_thread())
                    return None

    def close(self, timeout: float, *, finish: bool = False) -> None:
        """Stop the threads; wait for them at most *timeout* seconds in total.

        :param finish: whether to run the jobs in the queue. By default they are dropped.
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
