"""Notices when the two clocks diverge: a paused machine, a restored snapshot, a changed clock.

A suspended laptop counts its sleep on the monotonic clock. A paused virtual machine, a restored
snapshot and a frozen AWS Lambda sandbox don't: their monotonic clock continues where it stopped,
and only the wall clock shows the time that passed. A token must not look younger than it is, so the
larger of the two times counts. A wall clock that is set forward looks the same and costs a renewal.
A clock that is set back never extends a lifetime.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from tokenkeeper.clock import Clock, instant

__all__ = ["CLOCK_STEP_SECONDS", "ClockStep", "ClockSteps"]

CLOCK_STEP_SECONDS = 1.0
"""How far the clocks may drift apart unnoticed. A token's margin covers that much."""


class ClockStep(NamedTuple):
    """The change of the clocks since they were last compared.

    :ivar offset: the wall clock minus the monotonic clock, now.
    :ivar set_back: by how many seconds the monotonic clock went back. It never should, but it does
        in a process that is restored on another machine.
    """

    offset: float
    set_back: float = 0.0


class ClockSteps:
    """Compares both clocks of a keeper. Its owner's lock guards :meth:`take`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        now = instant(clock)
        self.offset: float = now.offset
        self._latest = now.monotonic

    def take(self) -> ClockStep | None:
        """Return the step since the last call, or ``None`` without one.

        Drift that is too small to be a step adds up until it is one.
        """
        latest = self._latest  # before the clock is read: another thread may move it on
        now = instant(self._clock)
        self._latest = now.monotonic
        set_back = latest - now.monotonic
        if set_back <= CLOCK_STEP_SECONDS:
            set_back = 0.0
            if abs(now.offset - self.offset) <= CLOCK_STEP_SECONDS:
                return None
        self.offset = now.offset
        return ClockStep(now.offset, set_back)

    def monotonic(self) -> float:
        """Return the monotonic clock, or infinity while there is a step to take.

        Keepers without a background read tokens with this clock. Infinity is past every deadline,
        so the next reader enters the slow path, which takes the step. No lock is taken.
        """
        now = self._clock.monotonic()
        apart = abs(self._clock.time() - now - self.offset)
        return math.inf if apart > CLOCK_STEP_SECONDS or now < self._latest else now
