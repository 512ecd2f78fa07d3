"""A clock whose wall time can be stepped while everything runs."""

import math

from soak.truth import boot
from tokenkeeper.clock import SYSTEM_CLOCK, SystemClock


class SteppedWall(SystemClock):
    """The machine's clocks, with a wall clock that somebody sets.

    :ivar stepped_at: when that happened last.
    :ivar steps: how often.
    """

    def __init__(self):
        self.offset = 0.0
        self.stepped_at = -math.inf
        self.steps = 0

    def time(self):
        return SYSTEM_CLOCK.time() + self.offset

    def step(self, seconds):
        """Set the wall clock forward, or back."""
        self.stepped_at = boot()
        self.offset += seconds
        self.stepped_at = boot()
        self.steps += 1
