"""A clock whose wall time can be stepped while everything runs."""

from soak.truth import boot
from tokenkeeper.clock import SYSTEM_CLOCK, SystemClock

REMEMBERED = 16


class SteppedWall(SystemClock):
    """The machine's clocks, with a wall clock that somebody sets.

    :ivar steps: how often.
    """

    def __init__(self):
        self.offset = 0.0
        self.steps = 0
        self._moments = ()

    def time(self):
        return SYSTEM_CLOCK.time() + self.offset

    def step(self, seconds):
        """Set the wall clock forward, or back."""
        began = boot()
        self.offset += seconds
        self._moments = (*self._moments[-REMEMBERED:], (began, boot()))
        self.steps += 1

    def was_stepped(self, since, until):
        """Say whether it was set between these two moments."""
        return any(began < until and since < ended for began, ended in self._moments)
