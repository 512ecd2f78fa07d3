"""Who is due next: one heap, one event, one thread that only schedules.

Workers (:mod:`tokenkeeper._runtime.workers`) make the renewals themselves, so a server that hangs
holds up one of them and nobody else's renewal.
"""

from __future__ import annotations

import heapq
import logging
import math
import threading
from collections.abc import Callable

from tokenkeeper._runtime.gevent import check_gevent
from tokenkeeper._runtime.waiting import InterruptibleEvent, join
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["THREAD_NAME", "Scheduler"]

THREAD_NAME = "tokenkeeper-refresher"

_Entry = tuple[float, int, str]  # when, which, what

_log = logging.getLogger("tokenkeeper.scheduler")

LONGEST_NAP_SECONDS = 5.0
"""The thread looks at the clocks at least this often while something is scheduled: its naps count
neither the sleep of a machine nor the pause of a virtual one."""


class Scheduler:
    """Keeps due times and, once started, hands out keys as they become due. Thread-safe.

    :param clock: what "due" is measured on.
    :param renew: called with each key that is due, on the refresher's thread; must not block. It
        must not keep the refresher's owner alive, or an owner that is dropped never goes.
    :param look: called on the same thread after each nap, under the same conditions.
    """

    def __init__(
        self,
        clock: Clock,
        renew: Callable[[str], None],
        look: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._renew = renew
        self._look = look
        self._lock = threading.Lock()  # guards all of the below
        self._heap: list[_Entry] = []
        self._current: dict[str, _Entry] = {}  # of each key the entry that counts
        self._entries = 0  # numbers them, so that keys are never compared
        self._changed = InterruptibleEvent()
        self._wakes_at = math.inf  # what is due later need not wake the thread now
        self._thread: threading.Thread | None = None
        self._closed = False

    def schedule(self, key: str, due_at: float) -> None:
        """Have *key* renewed at *due_at*, and at no other time."""
        with self._lock:
            self._entries += 1
            entry = self._current[key] = (due_at, self._entries, key)
            heapq.heappush(self._heap, entry)
            if len(self._heap) > 2 * len(self._current) + 16:
                self._sweep()
            if self._heap[0] is entry and due_at < self._wakes_at and self._thread is not None:
                # Only a thread is woken. Callers who renew inline may be struck by a signal's
                # exception inside the event, whose lock would then be held for ever.
                self._changed.set()

    def forget(self, key: str) -> None:
        """Have *key* not renewed."""
        with self._lock:
            self._current.pop(key, None)

    def take_due(self) -> list[str]:
        """Return the keys that are due, and schedule them no more."""
        now = self._clock.monotonic()
        due = []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                entry = heapq.heappop(self._heap)
                key = entry[2]
                if self._current.get(key) is entry:
                    del self._current[key]
                    due.append(key)
        return due

    def _sweep(self) -> None:
        """Drop the entries that no longer count. Called with the lock held."""
        self._heap = list(self._current.values())
        heapq.heapify(self._heap)

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and not closed since. Reading it takes no lock."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread if it does not run yet.

        :raises RuntimeError: if this host can't start one.
        :raises InvalidConfigurationError: if gevent or eventlet patched the process too late.
        """
        check_gevent()
        with self._lock:
            if self._thread is None and not self._closed:
                thread = threading.Thread(target=self._run, name=THREAD_NAME, daemon=True)
                thread.start()
                self._thread = thread

    def _run(self) -> None:
        while not self._closed:
            self._changed.clear()
            try:
                self._look()
            except Exception:  # noqa: BLE001 - what is due must be renewed all the same
                _log.exception("looking at the clocks failed; please report this as a bug")
            for key in self.take_due():
                try:
                    self._renew(key)
                except InvalidConfigurationError as refused:
                    _log.error("%r was not renewed: %s", key, refused)
                except Exception:  # noqa: BLE001 - the other tokens must be renewed all the same
                    _log.exception("renewing %r failed; please report this as a bug", key)
            self._clock.wait(self._changed, self._nap_seconds())

    def _nap_seconds(self) -> float | None:
        """Return how long to nap; ``None`` until something changes."""
        with self._lock:
            if self._closed:
                return 0.0
            if not self._current:
                self._wakes_at = math.inf
                return None
            now = self._clock.monotonic()
            self._wakes_at = min(max(now, self._heap[0][0]), now + LONGEST_NAP_SECONDS)
            return self._wakes_at - now

    def close(self, timeout: float) -> None:
        """Stop the thread, and wait for it *timeout* seconds."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._changed.set()
        if thread is not None and thread.ident != threading.get_ident() and timeout > 0:
            join(thread, timeout)
