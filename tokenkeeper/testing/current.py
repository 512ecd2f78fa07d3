"""The clock of the current test, for objects that were created without one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.clock import SYSTEM_CLOCK, Clock

__all__ = ["CURRENT_CLOCK", "CurrentClock"]


class CurrentClock:
    """The stepped clock of the current test, if it has one; otherwise the system's clock.

    It looks on each call, so a server that outlives a test follows the clock of each test.
    """

    def __init__(self) -> None:
        self._clock: Clock = SYSTEM_CLOCK

    def time(self) -> float:
        """Return the wall clock."""
        return self._clock.time()

    def monotonic(self) -> float:
        """Return the monotonic clock."""
        return self._clock.monotonic()

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        """Wait on that clock."""
        return self._clock.wait(event, timeout)

    @contextmanager
    def set_to(self, clock: Clock) -> Iterator[None]:
        """Use *clock* until the block ends."""
        before, self._clock = self._clock, clock
        try:
            yield
        finally:
            self._clock = before


CURRENT_CLOCK = CurrentClock()
