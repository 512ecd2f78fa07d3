"""What the callers of the demo experience, counted without a lock between them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

__all__ = ["Summary", "Tally", "quantiles", "summary"]


@dataclass(slots=True)
class Tally:
    """One caller's counts. Only that caller writes to it; a reader may be a call behind.

    :ivar attempts: calls, those without an answer included.
    :ivar calls: calls that the API answered.
    :ivar refused: calls that it answered with 401.
    :ivar failed: calls without a token, without an answer, or with another answer than 200 or 401.
    :ivar first_wait: the seconds that the first token took, which had to be requested.
    :ivar waits: the seconds that each later ``get_token`` took.
    :ivar slowest_call: the seconds of the slowest call, its token included. The first call, which
        opens connections, does not count.
    """

    attempts: int = 0
    calls: int = 0
    refused: int = 0
    failed: int = 0
    problem: str | None = None
    first_wait: float | None = None
    waits: array[float] = field(default_factory=lambda: array("d"))
    slowest_wait: float = 0.0
    slowest_call: float = 0.0

    def got_token(self, seconds: float) -> None:
        """Record how long ``get_token`` took."""
        if self.first_wait is None:
            self.first_wait = seconds
        else:
            self.waits.append(seconds)
            self.slowest_wait = max(self.slowest_wait, seconds)

    def answered(self, status: int) -> None:
        """Record the status of the API's answer."""
        self.calls += 1
        if status == 401:
            self.refused += 1
        elif status != 200:
            self.fail(f"the API answered {status}")

    def fail(self, problem: str) -> None:
        """Record a call that failed, and why."""
        self.failed += 1
        self.problem = problem

    def finish_call(self, seconds: float) -> None:
        """Record the end of a call, failed or not, and how long it took."""
        if self.attempts:
            self.slowest_call = max(self.slowest_call, seconds)
        self.attempts += 1


@dataclass(frozen=True, slots=True)
class Summary:
    """The counts of all callers together. Times are in seconds."""

    attempts: int
    calls: int
    refused: int
    failed: int
    problem: str | None
    first_wait: float
    slowest_wait: float
    slowest_call: float


def summary(tallies: list[Tally]) -> Summary:
    """Add up *tallies*. Cheap enough to be called while the callers run."""
    return Summary(
        attempts=sum(each.attempts for each in tallies),
        calls=sum(each.calls for each in tallies),
        refused=sum(each.refused for each in tallies),
        failed=sum(each.failed for each in tallies),
        problem=next((each.problem for each in tallies if each.problem), None),
        first_wait=max(each.first_wait or 0.0 for each in tallies),
        slowest_wait=max(each.slowest_wait for each in tallies),
        slowest_call=max(each.slowest_call for each in tallies),
    )


def quantiles(tallies: list[Tally], *shares: float) -> list[float]:
    """Return the waits that these *shares* of all waits do not exceed.

    Sorts all waits and holds the GIL meanwhile, so call it at the end.
    """
    waits = sorted(wait for each in tallies for wait in each.waits)
    if not waits:
        return [0.0 for _ in shares]
    return [waits[min(int(len(waits) * share), len(waits) - 1)] for share in shares]
