"""The time that an operation on Redis may take, whatever it has to wait for."""

from __future__ import annotations

import threading

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["Budget", "current_budget"]

_SHORTEST_WAIT = 0.001

_current = threading.local()  # the budget of the operation that this thread performs


class Budget:
    """The time that an operation has left. Entered on the thread that performs it.

    :param total_seconds: how long the operation may take.
    :param wait_seconds: how long a single wait may take; by default as long.
    """

    def __init__(self, total_seconds: float, wait_seconds: float | None = None) -> None:
        self._ends_at = SYSTEM_CLOCK.monotonic() + total_seconds
        self._wait_seconds = total_seconds if wait_seconds is None else wait_seconds

    def remaining(self) -> float:
        """Return how many seconds are left, at least 0."""
        return max(0.0, self._ends_at - SYSTEM_CLOCK.monotonic())

    def next_wait(self, share: float = 1.0) -> float:
        """Return how long the next wait may take: *share* of what is left.

        :raises TimeoutError: if no time is left.
        """
        if self.remaining() <= 0:
            raise TimeoutError("the total time of the operation is over")
        return self.shortest_wait(share)

    def shortest_wait(self, share: float = 1.0) -> float:
        """Return the same, and a millisecond if no time is left."""
        return min(self._wait_seconds, max(_SHORTEST_WAIT, self.remaining() * share))

    def __enter__(self) -> Budget:
        _current.budget = self
        return self

    def __exit__(self, *_: object) -> None:
        _current.budget = None


_UNLIMITED = Budget(float("inf"), 1.0)
"""For what a client does outside of an operation, such as closing its connections."""


def current_budget() -> Budget:
    """Return the budget of the operation that the calling thread performs."""
    budget: Budget | None = getattr(_current, "budget", None)
    return _UNLIMITED if budget is None else budget
