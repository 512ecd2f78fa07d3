"""A clock whose wall time can be stepped while everything runs."""

import math

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
        # Noted before it is done: a reader, or a forked child, must not see a step that was not
        # noted. How long it took is known only afterwards.
        self._note((began, math.inf), forward=seconds > 0)
        self.offset += seconds
        self._note((began, boot()), forward=seconds > 0)
        self.steps += 1

    def _note(self, moment, *, forward):
        self._moments = _with(self._moments, moment)
        if forward:
            self._forward = _with(self._forward, moment)

    def was_stepped(self, since, until):
        """Return whether the wall clock was set between these two moments."""
        return _any_between(self._moments, since, until)

    def was_set_forward(self, since, until):
        """Return whether the wall clock was set forward between these two moments.

        To a keeper that looks like a paused machine, so it no longer trusts older tokens.
        """
        return _any_between(self._forward, since, until)


def _with(moments, moment):
    """Return the latest *moments* and *moment*, in place of one that began at the same time."""
    others = tuple(other for other in moments if other[0] != moment[0])
    return (*others[-REMEMBERED:], moment)


def _any_between(moments, since, until):
    return any(began < until and since < ended for began, ended in moments)
