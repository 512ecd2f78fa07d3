"""The only module that reads the time.

There are two clocks. The wall clock gives expiry times that servers and people understand, but
anyone may set it. Deadlines therefore use a clock that never goes back *and keeps counting while
the machine sleeps*: after a suspended laptop or virtual machine wakes up, a token must not look
younger than it is.
"""

from __future__ import annotations

import sys
import threading
import time as _time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple, Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "Instant", "SystemClock", "instant", "utc"]


class Clock(Protocol):
    """The clock that Tokenkeeper uses. Its methods are called from any thread."""

    def time(self) -> float:
        """Return the wall clock's time in seconds since the epoch. It may jump."""
        ...

    def monotonic(self) -> float:
        """Return the seconds of a clock that never goes back and keeps counting during sleep."""
        ...

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait until *event* is set or *timeout* seconds have passed; return whether it is set.

        :param timeout: ``None`` to wait without a limit.
        """
        ...


class Instant(NamedTuple):
    """Both clocks, read at the same time."""

    wall: float
    monotonic: float

    @property
    def offset(self) -> float:
        """The wall clock minus the monotonic clock. It changes when one of them is stepped."""
        return self.wall - self.monotonic


LONGEST_READING_SECONDS = 0.1
"""If reading both clocks takes longer, the thread was descheduled, and both are read again."""


def instant(clock: Clock) -> Instant:
    """Return both of *clock*'s times, read as close together as possible."""
    before = clock.monotonic()
    for _ in range(3):
        wall, after = clock.time(), clock.monotonic()
        if after - before <= LONGEST_READING_SECONDS:
            break
        before = after
    return Instant(wall, after)


def utc(clock: Clock, seconds_from_now: float = 0.0) -> datetime:
    """Return *clock*'s wall-clock time as an aware ``datetime``, plus *seconds_from_now*."""
    return datetime.fromtimestamp(clock.time() + seconds_from_now, UTC)


def _sleep_counting_clock() -> Callable[[], float]:
    # time.monotonic() stops while a Linux or macOS machine sleeps; these two do not.
    # A partial of the C function costs 12 ns more than time.monotonic(); a def would cost 40.
    identifier = {"linux": "CLOCK_BOOTTIME", "darwin": "CLOCK_MONOTONIC"}.get(sys.platform)
    if identifier is None:
        return _time.monotonic
    return partial(_time.clock_gettime, getattr(_time, identifier))


class SystemClock:
    """The machine's own clocks."""

    time: Callable[[], float] = staticmethod(_time.time)
    monotonic: Callable[[], float] = staticmethod(_sleep_counting_clock())

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait for *event* in real time, at most as long as the platform supports."""
        return event.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))


SYSTEM_CLOCK = SystemClock()
