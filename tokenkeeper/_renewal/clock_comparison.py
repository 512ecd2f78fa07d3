"""Compares the clock of this host with others of its fleet."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import ClocksDisagree, TokenEvent
from tokenkeeper.names import provider_of

__all__ = ["ClockComparison"]

CLOCKS_DISAGREE_SECONDS = 5.0
"""From this difference on, the clocks of a fleet are reported: it costs token requests."""

REPORT_CLOCKS_SECONDS = 600.0
"""How long a difference of the clocks is not reported again."""


class ClockComparison:
    """Reports clocks that differ, now and then. Thread-safe.

    :param report: delivers an event; called without a lock.
    """

    def __init__(self, clock: Clock, report: Callable[[TokenEvent], None]) -> None:
        self._clock = clock
        self._report = report
        self._lock = threading.Lock()  # guards the moment
        self._reported_at = -math.inf

    def compare(self, name: str, ahead: float) -> None:
        """Report that this host's clock and the store's or another host's differ by *ahead*."""
        if not CLOCKS_DISAGREE_SECONDS <= abs(ahead) < math.inf:
            return
        now = self._clock.monotonic()
        with self._lock:
            if now - self._reported_at < REPORT_CLOCKS_SECONDS:
                return
            self._reported_at = now
        self._report(
            ClocksDisagree(
                provider_of(name), utc(self._clock), difference_seconds=ahead, token_name=name
            )
        )
