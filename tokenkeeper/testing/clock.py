"""A clock that is stepped by hand."""

from __future__ import annotations

import threading
from typing import Literal

from tokenkeeper._runtime.scheduler import THREAD_NAME

__all__ = ["SteppedClock"]

POLL_SECONDS = 0.002
"""A thread can't wait for an event and for the clock at once, so it looks this often, really."""


class SteppedClock:
    """A :class:`~tokenkeeper.clock.Clock` on which time passes only when it is told to.

    .. code-block:: python

        clock = SteppedClock(auto_step="retries")
        keeper = TokenKeeper(clock=clock)
        ...
        clock.step(3600)  # an hour later

    Keepers, servers and providers that are to agree on the time share one. A step lets all of its
    time pass at once: what was due in between is done after it, on the keeper's own threads and in
    real time, so a test waits for it by an event. A wait for 10 s is over when 10 s were stepped,
    and not before. Thread-safe.

    :param wall: what the wall clock shows at first, in seconds since the epoch.
    :param monotonic: what the other clock shows at first.
    :param auto_step: let a wait step the clock by itself and return at once. For tests with one
        thread, where nobody else could step it. With a keeper that renews in the background use
        ``"retries"``, or time would run away as its refresher waits again and again: then only
        the waits before a retry step the clock.
    """

    def __init__(
        self,
        wall: float = 1_900_000_000.0,
        monotonic: float = 1000.0,
        *,
        auto_step: bool | Literal["retries"] = False,
    ) -> None:
        self._lock = threading.Lock()  # guards the two readings and the count
        self._wall = wall
        self._monotonic = monotonic
        self._auto_step = auto_step
        self._waiting = 0

    def time(self) -> float:
        """Return the wall clock."""
        return self._wall

    def monotonic(self) -> float:
        """Return the clock that never goes back."""
        return self._monotonic

    @property
    def waiting(self) -> int:
        """How many threads wait on this clock right now."""
        return self._waiting

    def step(self, seconds: float) -> None:
        """Let *seconds* pass on both clocks.

        :raises ValueError: for a negative number; see :meth:`step_wall`.
        """
        if seconds < 0:
            raise ValueError("time does not go back; step_wall() steps the wall clock alone")
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP might."""
        with self._lock:
            self._wall += seconds

    def step_monotonic(self, seconds: float) -> None:
        """Move the other clock alone; even back, as for a process restored on another machine.

        ``step_wall(7200)`` is what a process sees after a virtual machine was paused for two hours.
        """
        with self._lock:
            self._monotonic += seconds

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait until *event* is set or *timeout* has passed on this clock."""
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
