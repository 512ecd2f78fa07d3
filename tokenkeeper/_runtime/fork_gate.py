"""A gate that keeps forks and certain blocks of code apart.

Some libraries keep a state for the whole process while they work, such as the locks on files that
SQLite believes to hold. A child that is forked meanwhile inherits that state, but not what it
describes, and can't reset it. So a fork waits until no thread is in such a block, and no thread
enters one until the fork is done. The blocks themselves run side by side.

The wait is bounded. A fork that would wait longer goes ahead.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper._runtime.fork import notice_fork, renew_after_fork

__all__ = ["FORK_GATE", "ForkGate"]

LONGEST_WAIT_SECONDS = 5.0
"""For how long a fork waits for the blocks of other threads."""


class ForkGate:
    """Counts the blocks that run. Thread-safe."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Start over: the threads in the blocks stayed with the parent."""
        self._changed = threading.Condition()  # guards the two below
        self._running = 0
        self._is_forking = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Run a block that a fork in another thread waits for, and that waits for a fork."""
        notice_fork()
        changed = self._changed
        with changed:
            changed.wait_for(lambda: not self._is_forking, LONGEST_WAIT_SECONDS)
            self._running += 1
        try:
            yield
        finally:
            if changed is self._changed:  # otherwise this is a child that was forked in the block
                with changed:
                    self._running -= 1
                    changed.notify_all()

    def before_fork(self) -> None:
        """Close the gate, and wait until no block runs."""
        with self._changed:
            self._is_forking = True
            self._changed.wait_for(lambda: not self._running, LONGEST_WAIT_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Open the gate."""
        with self._changed:
            self._is_forking = False
            self._changed.notify_all()


FORK_GATE = ForkGate()
"""The gate of this process."""

if hasattr(os, "register_at_fork"):  # Windows has neither this function nor forks
    os.register_at_fork(
        before=FORK_GATE.before_fork, after_in_parent=FORK_GATE.after_fork_in_parent
    )
