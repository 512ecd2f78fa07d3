"""The schedule of renewals: one heap, one event, one thread that only schedules.

Workers (:mod:`tokenkeeper._runtime.workers`) make the renewals themselves, so a server that hangs
delays one worker and no other renewal.
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

_Entry = tuple[float, int, str]  # due time, number, key

_log = logging.getLogger("tokenkeeper.scheduler")

LONGEST_NAP_SECONDS = 5.0
"""The thread checks the clocks at least this often while something is scheduled, because its waits
count neither the sleep of a machine nor the pause of a virtual one."""


class Scheduler:
    """Keeps due times and, once started, passes on keys as they become due. Thread-safe.

    :param clock: the clock of the due times.
    :param renew: called with each key that is due, on the scheduler's thread. It must not block,
        and must not keep the scheduler's owner alive, so that a dropped owner can be collected.
    :param look: called on the same thread after each wait, under the same conditions.
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
        self._current: dict[str, _Entry] = {}  # the valid entry of each key
        self._entries = 0  # numbers the entries, so that keys are never compared
        self._changed = InterruptibleEvent()
        self._wakes_at = math.inf  # an entry that is due later need not wake the thread
        self._thread: threading.Thread | None = None
        self._closed = False

    def schedule(self, key: str, due_at: float) -> None:
        """Schedule *key* for *due_at*, instead of its earlier due time."""
        with self._lock:
            self._entries += 1
            entry = self._current[key] = (due_at, self._entries, key)
            heapq.heappush(self._heap, entry)
            if len(self._heap) > 2 * len(self._current) + 16:
                self._sweep()
            if self._heap[0] is entry and due_at < self._wakes_at and self._thread is not None:
                # Without a thread the event is not set: a caller that renews inline may be
                # interrupted there by the exception of a signal handler.
                self._changed.set()

    def forget(self, key: str) -> None:
        """Remove *key* from the schedule."""
        with self._lock:
            self._current.pop(key, None)

    def take_due(self) -> list[str]:
        """Return the keys that are due, and remove them from the schedule."""
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
        """Drop the outdated entries. Called with the lock held."""
        self._heap = list(self._current.values())
        heapq.heapify(self._heap)

    @property
    def is_running(self) -> bool:
        """Whether the thread was started and not stopped since. Takes no lock."""
        return self._thread is not None

    def start(self) -> None:
        """Start the thread unless it is running.

        :raises RuntimeError: if this host can't start a thread.
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
            except Exception:  # noqa: BLE001 - due tokens must be renewed anyway
                _log.exception("looking at the clocks failed; please report this as a bug")
            for key in self.take_due():
                try:
                    self._renew(key)
                except InvalidConfigurationError as refused:
                    _log.error("%r was not renewed: %s", key, refused)
                except Exception:  # noqa: BLE001 - the other tokens must be renewed anyway
                    _log.exception("renewing %r failed; please report this as a bug", key)
            self._clock.wait(self._changed, self._nap_seconds())

    def _nap_seconds(self) -> float | None:
        """Return how many seconds to wait; ``None`` for until something changes."""
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
        """Stop the thread, and wait for it at most *timeout* seconds."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            self._changed.set()
        if thread is not None and thread.ident != threading.get_ident() and timeout > 0:
            join(thread, timeout)
