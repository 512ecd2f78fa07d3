"""The only place that asks what time it is.

Two clocks answer two questions. The wall clock says when a token ends in words that a server or
a person understands, and anyone may set it back. Deadlines are therefore held on a clock that
only goes forward *and goes on while the machine sleeps*: a laptop lid or a suspended virtual
machine must not leave a token looking younger than it is.
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
    """What Tokenkeeper asks of a clock. Its methods are called from any thread."""

    def time(self) -> float:
        """Return the wall clock: seconds since the epoch, UTC. It may jump."""
        ...

    def monotonic(self) -> float:
        """Return seconds on a clock that never goes back and counts sleep."""
        ...

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait until *event* is set or *timeout* seconds have passed; say if it is set."""
        ...


class Instant(NamedTuple):
    """Both clocks, read at one moment."""

    wall: float
    monotonic: float

    @property
    def offset(self) -> float:
        """The wall clock minus the monotonic clock. It changes when one of them is stepped."""
        return self.wall - self.monotonic


LONGEST_READING_SECONDS = 0.1
"""A thread that loses the processor for longer between two readings reads both clocks again."""


def instant(clock: Clock) -> Instant:
    """Read both of *clock*'s clocks, as close together as the machine allows."""
    before = clock.monotonic()
    for _ in range(3):
        wall, after = clock.time(), clock.monotonic()
        if after - before <= LONGEST_READING_SECONDS:
            break
        before = after
    return Instant(wall, after)


def utc(clock: Clock, seconds_from_now: float = 0.0) -> datetime:
    """Return what *clock*'s wall clock shows, in words that a person understands."""
    return datetime.fromtimestamp(clock.time() + seconds_from_now, UTC)


def _sleep_counting_clock() -> Callable[[], float]:
    # time.monotonic() stands still while a Linux or macOS machine sleeps; these two do not.
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
        """Wait on *event* in real time. A longer wait than the system knows is cut to that."""
        return event.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))


SYSTEM_CLOCK = SystemClock()
