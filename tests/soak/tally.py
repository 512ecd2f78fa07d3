"""Counts of what callers experienced, in constant memory, which add up across processes."""

import math
from collections import Counter

_STEPS = 40
"""Buckets for each power of ten: a quantile is exact to 6 %."""

EXAMPLES = 5


class Waits:
    """A histogram of how long calls took."""

    def __init__(self):
        self.buckets = Counter()
        self.longest = 0.0

    def note(self, seconds):
        self.buckets[int(_STEPS * math.log10(max(seconds, 1e-8)))] += 1
        if seconds > self.longest:
            self.longest = seconds

    def quantile(self, share):
        """Return the seconds that *share* of all waits do not exceed."""
        wanted = share * self.count
        for bucket in sorted(self.buckets):
            wanted -= self.buckets[bucket]
            if wanted <= 0:
                return min(10 ** (bucket / _STEPS), self.longest)
        return 0.0

    @property
    def count(self):
        return sum(self.buckets.values())

    def as_dict(self):
        return {"buckets": dict(self.buckets), "longest": self.longest}

    def add(self, other):
        """Add what another one's :meth:`as_dict` says."""
        for bucket, count in other["buckets"].items():
            self.buckets[int(bucket)] += count
        self.longest = max(self.longest, other["longest"])


class Tally:
    """The counts of one caller. Only one thread writes to them.

    :ivar waits: of all calls.
    :ivar served: of the calls during which a valid token existed from beginning to end.
    :ivar nothing: of two readings of the clock with nothing in between, once for each call. They
        show the delays that the machine and the GIL cause.
    :ivar counts: everything else, by name.
    :ivar examples: the first few violations, in words.
    """

    def __init__(self):
        self.waits = Waits()
        self.served = Waits()
        self.nothing = Waits()
        self.counts = Counter()
        self.errors = Counter()
        self.examples = []

    def accuse(self, what, words):
        """Count a violation."""
        self.counts[what] += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(f"{what}: {words}")

    def as_dict(self):
        return {
            "waits": self.waits.as_dict(),
            "served": self.served.as_dict(),
            "nothing": self.nothing.as_dict(),
            "counts": dict(self.counts),
            "errors": dict(self.errors),
            "examples": self.examples,
        }

    def add(self, other):
        """Add what another one's :meth:`as_dict` says."""
        for name in ("waits", "served", "nothing"):
            getattr(self, name).add(other[name])
        self.counts.update(other["counts"])
        self.errors.update(other["errors"])
        self.examples = [*self.examples, *other["examples"]][:EXAMPLES]


def total(tallies):
    """Add up *tallies*."""
    everything = Tally()
    for tally in tallies:
        everything.add(tally.as_dict())
    return everything
