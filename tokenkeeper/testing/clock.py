"""A clock that a test steps."""

from __future__ import annotations

import threading
from typing import Literal

from tokenkeeper._runtime.scheduler import THREAD_NAME

__all__ = ["SteppedClock"]

POLL_SECONDS = 0.002
"""How often a wait checks the clock, in real time. A thread can't wait for an event and for the
clock at once."""


class SteppedClock:
    """A :class:`~tokenkeeper.clock.Clock` on which time passes only when a test steps it.

    .. code-block:: python

        clock = SteppedClock(auto_step="retries")
        keeper = TokenKeeper(clock=clock)
        ...
        clock.step(3600)  # an hour later

    Share one clock among the keepers, servers and providers of a test. A step lets all of its time
    pass at once. Everything that became due is then done on the keeper's own threads and in real
    time, so a test waits for it with an event. A wait for 10 s ends when the clock was stepped by
    10 s, and not before. Thread-safe.

    :param wall: the initial wall clock, in seconds since the epoch.
    :param monotonic: the initial monotonic clock, in seconds.
    :param auto_step: whether a wait steps the clock and returns immediately; ``False`` by default.
        For tests with one thread, in which no other thread could step it. With a keeper that
        renews in the background use ``"retries"``: only waits before a retry step the clock then.
        Otherwise the background thread would step it endlessly.
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
        """Return the monotonic clock."""
        return self._monotonic

    @property
    def waiting(self) -> int:
        """The number of threads that currently wait on this clock."""
        return self._waiting

    def step(self, seconds: float) -> None:
        """Let *seconds* pass on both clocks.

        :raises ValueError: for a negative number; use :meth:`step_wall` to set the wall clock back.
        """
        if seconds < 0:
            raise ValueError("time can't go back. Use step_wall() to set the wall clock back")
        with self._lock:
            self._wall += seconds
            self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an administrator or NTP might."""
        with self._lock:
            self._wall += seconds

    def step_monotonic(self, seconds: float) -> None:
        """Step only the monotonic clock, also back, as in a process restored on another machine.

        ``step_wall(7200)`` is what a process sees after a virtual machine was paused for two hours.
        """
        with self._lock:
            self._monotonic += seconds

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait until *event* is set or *timeout* has passed on this clock."""
        if event.is_set():
            return True
        if timeout is not None and self._is_auto_stepped():
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

    def _is_auto_stepped(self) -> bool:
        if self._auto_step == "retries":
            return threading.current_thread().name != THREAD_NAME
        return self._auto_step
