"""A clock that tests step by hand."""

from __future__ import annotations

import threading
from typing import Literal

from tokenkeeper._runtime.scheduler import THREAD_NAME

__all__ = ["SteppedClock"]

POLL_SECONDS = 0.002
"""How often a waiting thread looks, in real seconds: it can't wait for an event and a clock."""


class SteppedClock:
    """A :class:`~tokenkeeper.clock.Clock` on which time passes only in :meth:`step`.

    .. code-block:: python

        clock = SteppedClock(auto_step="retries")
        keeper = TokenKeeper(clock=clock)
        ...
        clock.step(3600)  # an hour later

    Keepers, servers and providers that must agree on the time share one. A step passes all of its
    time at once. What became due happens afterwards, on the keeper's own threads and in real time,
    so a test waits for an event. A wait for 10 s ends when 10 s were stepped, and not before.
    Thread-safe.

    :param wall: the initial wall clock, in seconds since the epoch; a moment in 2030 by default.
    :param monotonic: the initial monotonic clock, in seconds; 1,000 by default.
    :param auto_step: whether a wait steps the clock and returns at once; ``False`` by default. Use
        ``True`` in tests with one thread, where no other could step it. Use ``"retries"`` for a
        keeper that renews in the background: then only waits before a retry step the clock. With
        ``True`` its scheduler would wait again and again, and time would run away.
    :raises ValueError: for another *auto_step*.
    """

    def __init__(
        self,
        wall: float = 1_900_000_000.0,
        monotonic: float = 1000.0,
        *,
        auto_step: bool | Literal["retries"] = False,
    ) -> None:
        if auto_step not in (True, False, "retries"):
            raise ValueError(f"auto_step must be True, False or 'retries', not {auto_step!r}")
        self._lock = threading.Lock()  # guards the two readings and the count
        self._wall = wall
        self._monotonic = monotonic
        self._auto_step = auto_step
        self._waiting = 0

    def time(self) -> float:
        """Return the wall clock, in seconds since the epoch."""
        return self._wall

    def monotonic(self) -> float:
        """Return the monotonic clock, in seconds."""
        return self._monotonic

    @property
    def waiting(self) -> int:
        """How many threads are waiting on this clock."""
        return self._waiting

    def step(self, seconds: float) -> None:
        """Let *seconds* pass on both clocks.

        :raises ValueError: for a negative number; see :meth:`step_wall`.
        """
        if seconds < 0:
            raise ValueError("time can't go back. Use step_wall() to set the wall clock.")
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP might."""
        with self._lock:
            self._wall += seconds

    def step_monotonic(self, seconds: float) -> None:
        """Step the monotonic clock alone, even back, as when a process is restored elsewhere.

        ``step_wall(7200)`` is what a process sees after its machine was paused for two hours.
        """
        with self._lock:
            self._monotonic += seconds

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait until *event* is set or *timeout* has passed; return whether it is set."""
        if event.is_set():
            return True
        if timeout is not None and self._steps_by_itself():
            self.step(timeout)
            return event.is_set()
        ends = None if timeout is None else self._monotonic + timeout
        with self._lock:
            self._waiting += 1
        try:
            while not event.wait(POLL_SECONDS):
                if ends is not None and self._monotonic >= ends:
                    return event.is_set()
            return True
        finally:
            with self._lock:
                self._waiting -= 1

    def _steps_by_itself(self) -> bool:
        if self._auto_step == "retries":
            return threading.current_thread().name != THREAD_NAME
        return self._auto_step
