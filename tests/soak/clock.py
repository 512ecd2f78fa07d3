"""A clock whose wall time can be stepped while everything runs."""

from soak.truth import boot
from tokenkeeper.clock import SYSTEM_CLOCK, SystemClock

REMEMBERED = 16


class SteppedWall(SystemClock):
    """The machine's clocks, with a wall clock that can be set.

    :ivar steps: how often it was set.
    """

    def __init__(self):
        self.offset = 0.0
        self.steps = 0
        self._moments = ()
        self._forward = ()

    def time(self):
        return SYSTEM_CLOCK.time() + self.offset

    def step(self, seconds):
        """Set the wall clock forward, or back if *seconds* is negative."""
        began = boot()
        self.offset += seconds
        moment = (began, boot())
        self._moments = (*self._moments[-REMEMBERED:], moment)
        if seconds > 0:
            self._forward = (*self._forward[-REMEMBERED:], moment)
        self.steps += 1

    def was_stepped(self, since, until):
        """Return whether the wall clock was set between these two moments."""
        return _any_between(self._moments, since, until)

    def was_set_forward(self, since, until):
        """Return whether the wall clock was set forward between these two moments.

        To a keeper that looks like a paused machine, so it no longer trusts older tokens.
        """
        return _any_between(self._forward, since, until)


def _any_between(moments, since, until):
    return any(began < until and since < ended for began, ended in moments)
