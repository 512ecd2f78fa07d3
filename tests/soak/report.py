"""The outcome of a soak in figures, and the hard claims that it broke."""

from collections import Counter
from dataclasses import asdict

from soak.played import played
from soak.tally import total

ACCUSATIONS = (
    "an expired token",
    "an unknown token",
    "a refused token",
    "a forced token older than the call",
    "a revoked token still good",
    "a renewed token that is refused",
    "a token that the server refuses",
    "an error with a valid token",
    "a foreign error",
)
"""What must never happen to a caller."""

LEAST_IN_TIME = 0.25
"""The least share of tokens that are renewed while the previous one is usable. Most others are due
to outages. Without a background there would be none."""

GROWTH = 1.25
GROWTH_BYTES = 24 << 20
GROWTH_OBJECTS = 20_000
GROWTH_DESCRIPTORS = 40
LIBRARY_THREADS = 32 + 2
"""32 workers, the refresher, and the event loop for async providers."""


class Report:
    """All figures of an :class:`~soak.play.Outcome`.

    :ivar broken: the hard claims that did not hold. They do not depend on the machine's speed.
    """

    def __init__(self, outcome):
        self._outcome = outcome
        nursery = outcome.nursery
        self.crowd = total([*outcome.readers, outcome.mischief.tally])
        self.children = nursery.tally
        self.everybody = total([self.crowd, self.children])
        self.quiet = _books(outcome, quiet=True)
        self.quiet.update({k: v for k, v in nursery.books.items() if "disturbed" not in k})
        self.disturbed = _books(outcome, quiet=False)
        for name, count in nursery.books.items():
            if name.startswith("disturbed "):
                self.disturbed[name.removeprefix("disturbed ")] += count
        self.played = played(outcome.books, outcome.mischief, nursery, outcome.clock)
        self.examples = [*self.everybody.examples, *nursery.examples]
        for name, watch in outcome.watches.items():
            self.examples += [f"{name}, {example}" for example in watch.examples]
        self.broken = [what for holds, what in self._claims() if not holds]

    @property
    def requests_per_need(self):
        """Requests for each need: 1 if none was needless."""
        extra = self.quiet["needless"] + self.quiet["overlapping"]
        extra += max(0, self.quiet["early"] - self.quiet["asked"])
        return (self.quiet["grants"] + extra) / max(1, self.quiet["grants"])

    def _claims(self):
        outcome, nursery = self._outcome, self._outcome.nursery
        for accusation in ACCUSATIONS:
            count = self.everybody.counts[accusation]
            yield count == 0, f"{accusation}: {count} times"
        refused = outcome.presenter.refused
        yield not refused, f"{len(refused)} tokens refused by the API: {refused[:3]}"
        books = dict(self.quiet)
        yield self.requests_per_need == 1, f"{self.requests_per_need:.4f} requests a need: {books}"
        share = self.quiet["in time"] / max(1, self.quiet["grants"])
        yield share > LEAST_IN_TIME, f"only {share:.0%} of the tokens were renewed in time"
        disturbed = _books(outcome, quiet=False)
        yield disturbed["needless"] == 0, "needless requests for the disturbed providers"
        yield disturbed["early"] <= disturbed["asked"], f"more tokens than asked for: {disturbed}"
        ours = self.quiet["requests"] + self.disturbed["requests"]
        theirs = sum(outcome.books["requests"].values())
        yield theirs <= ours, f"the server got {theirs} requests, and {ours} were made"
        wrong = outcome.books["played"].get("a request that no client may send", 0)
        yield wrong == 0, f"{wrong} requests that no client may send"
        yield not nursery.failures, f"children failed: {nursery.failures[:3]}"
        yield nursery.reported == nursery.forked, "not every child reported"
        yield not outcome.problems, f"the soak itself failed: {outcome.problems}"
        yield not outcome.hanging, f"these hang: {outcome.hanging}"
        for name, count in self.played.items():
            yield count > 0, f"this never occurred: {name}"
        for tally in outcome.readers:
            yield tally.waits.count > 0, "a reader never made a call"
        yield from self._growth()

    def _growth(self):
        looks = self._outcome.resources
        first, warm, last = looks["before all"], looks["warm"], looks["at the end"]
        closed = looks["closed"]
        most = GROWTH * warm.rss + GROWTH_BYTES
        yield last.rss <= most, f"memory grew from {warm.rss} to {last.rss} bytes"
        most = GROWTH * warm.objects + GROWTH_OBJECTS
        yield last.objects <= most, f"objects grew from {warm.objects} to {last.objects}"
        grown = last.descriptors - warm.descriptors
        yield grown <= GROWTH_DESCRIPTORS, f"{grown} more file descriptors"
        # Other tests in the same process may have left some.
        threads = max(look.library_threads for look in looks.values()) - first.library_threads
        yield threads <= LIBRARY_THREADS, f"{threads} threads of the library"
        left = closed.threads - first.threads
        yield left <= 1, f"{left} threads after the end; only the event loop's may remain"
        left = closed.descriptors - first.descriptors
        yield left <= 8, f"{left} file descriptors after the end"

    # ---- tables

    def tables(self):
        """Return ``(title, rows)`` for each table; a row is a text and a figure."""
        outcome, crowd, children = self._outcome, self.crowd, self.children
        books = outcome.books
        yield (
            "What callers saw",
            [
                ("calls of `get_token`", f"{crowd.waits.count:,}"),
                ("... while a valid token existed all the time", f"{crowd.served.count:,}"),
                ("**expired tokens handed out**", _none(self.everybody, "an expired token")),
                (
                    "in doubt: the token expired during the call",
                    str(self.everybody.counts["in doubt"]),
                ),
                (
                    "refused, cleared or unknown tokens handed out",
                    _none(self.everybody, "a refused token", "an unknown token"),
                ),
                (
                    "**errors while a valid token existed**",
                    _none(self.everybody, "an error with a valid token"),
                ),
                (
                    "errors while there was none, all of Tokenkeeper's classes",
                    f"{crowd.errors.total():,}",
                ),
                ("**longest wait with a valid token**", _time(crowd.served.longest)),
                (
                    "longest time between two adjacent readings of the clock",
                    _time(crowd.nothing.longest),
                ),
                (
                    "longest delay of a thread that only sleeps",
                    _time(outcome.control.waits.longest),
                ),
                ("p50, p99, p99.9 with a valid token", _quantiles(crowd.served)),
                ("p50, p99, p99.9 of all calls", _quantiles(crowd.waits)),
                ("tokens presented to the API", f"{sum(books['api'].values()):,}"),
                ("... accepted, or expired on their way to it", _verdicts(books["api"])),
                ("... rejected", str(len(outcome.presenter.refused))),
            ],
        )
        yield (
            "Token requests",
            [
                (
                    "requests, all processes",
                    f"{self.quiet['requests'] + self.disturbed['requests']:,}",
                ),
                ("... that reached the server", f"{sum(books['requests'].values()):,}"),
                ("tokens granted to the 20 providers", f"{self.quiet['grants']:,}"),
                ("... while the previous token was usable", f"{self.quiet['in time']:,}"),
                ("tokens forced in children", f"{self.quiet['asked']:,}"),
                ("... before the previous token was due", f"{self.quiet['early']:,}"),
                ("requests that overlapped another one", str(self.quiet["overlapping"])),
                ("requests before their time that were not forced", str(self.quiet["needless"])),
                ("**requests per need**", f"{self.requests_per_need:.4f}"),
            ],
        )
        yield (
            "Children",
            [
                ("forked", f"{outcome.nursery.forked:,}"),
                ("reported", f"{outcome.nursery.reported:,}"),
                ("failed", str(len(outcome.nursery.failures))),
                ("calls", f"{children.waits.count:,}"),
                ("longest wait with a valid token", _time(children.served.longest)),
                *((what, f"{count:,}") for what, count in sorted(outcome.nursery.done.items())),
            ],
        )
        yield "What happened", [(what, f"{count:,}") for what, count in self.played.items()]

    def resource_rows(self):
        """Return a row for each moment: name, memory, threads, descriptors, objects."""
        for moment, look in self._outcome.resources.items():
            yield (
                moment,
                f"{look.rss / (1 << 20):.1f} MiB",
                f"{look.threads} ({look.library_threads})",
                str(look.descriptors),
                f"{look.objects:,}",
            )

    def as_dict(self):
        """Return all figures for JSON."""
        outcome, nursery = self._outcome, self._outcome.nursery
        return {
            "broken": self.broken,
            "sizes": asdict(outcome.sizes),
            "seconds": outcome.seconds,
            "calls": self.crowd.waits.count,
            "requests_per_need": self.requests_per_need,
            "crowd": self.crowd.as_dict(),
            "children": self.children.as_dict(),
            "forked": nursery.forked,
            "reported": nursery.reported,
            "failures": nursery.failures,
            "done_by_children": dict(nursery.done),
            "quiet_providers": dict(self.quiet),
            "disturbed_providers": dict(self.disturbed),
            "played": self.played,
            "server": outcome.books,
            "control_longest": outcome.control.waits.longest,
            "resources": {k: v._asdict() for k, v in outcome.resources.items()},
            "grown": outcome.grown,
        }


def _books(outcome, *, quiet):
    books = Counter()
    for name, watch in outcome.watches.items():
        if (name in outcome.quiet) == quiet:
            books.update(watch.books)
    return books


def _none(tally, *names):
    return str(sum(tally.counts[name] for name in names))


def _time(seconds):
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def _quantiles(waits):
    return ", ".join(_time(waits.quantile(share)) for share in (0.5, 0.99, 0.999))


def _verdicts(api):
    return f"{api.get('good', 0):,}, {api.get('ended on its way', 0):,}"
