"""What the tests of events watch with."""

import queue
from datetime import UTC, datetime


class Watcher(queue.SimpleQueue):
    """A hook that keeps what it is told."""

    def __call__(self, event):
        self.put(event)

    def next(self):
        return self.get(timeout=20)


def at(clock):
    return datetime.fromtimestamp(clock.time(), UTC)
