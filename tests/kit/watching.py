"""A hook for the tests of events."""

import queue
from datetime import UTC, datetime


class Watcher(queue.SimpleQueue):
    """A hook that keeps its events."""

    def __call__(self, event):
        self.put(event)

    def next(self):
        return self.get(timeout=20)


def at(clock):
    return datetime.fromtimestamp(clock.time(), UTC)
