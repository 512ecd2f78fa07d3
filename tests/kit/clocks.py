"""A clock for code that only reads the monotonic time."""


class StoppedClock:
    """A clock that a test sets."""

    now = 0.0

    def monotonic(self):
        return self.now
