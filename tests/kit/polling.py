"""What happens on other devices and at servers while a program waits for a person."""

from tokenkeeper.testing import SteppedClock


class PersonsClock(SteppedClock):
    """A clock that the waits of callers step, and on which others act at their times.

    :param step_other: called with each step, for a server with a clock of its own.
    """

    def __init__(self, step_other=lambda seconds: None):
        super().__init__(auto_step="retries")
        self._began = self.monotonic()
        self._step_other = step_other
        self._acts = []

    @property
    def passed(self):
        """The seconds since the beginning."""
        return self.monotonic() - self._began

    def at(self, seconds, act):
        """Call *act* once so many seconds have passed."""
        self._acts.append((self.passed + seconds, act))

    def step(self, seconds):
        """Let time pass here and there, and have others act whose time has come."""
        super().step(seconds)
        self._step_other(seconds)
        due = [act for when, act in self._acts if when <= self.passed]
        self._acts = [each for each in self._acts if each[0] > self.passed]
        for act in due:
            act()
