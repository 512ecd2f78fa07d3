"""What the callers of the demo lived through, counted without a lock between them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

__all__ = ["Summary", "Tally", "quantiles", "summary"]


@dataclass(slots=True)
class Tally:
    """One caller's counts. Only that caller writes to it; whoever reads may be a call behind."""

    calls: int = 0
    refused: int = 0
    failed: int = 0
    problem: str | None = None
    first_wait: float | None = None
    """How long the first token took, which nobody had yet."""
    waits: array[float] = field(default_factory=lambda: array("d"))
    """How long each later ``get_token`` took, in seconds."""
    slowest_wait: float = 0.0

    def waited(self, seconds: float) -> None:
        """Note down how long ``get_token`` took."""
        if self.first_wait is None:
            self.first_wait = seconds
        else:
            self.waits.append(seconds)
            self.slowest_wait = max(self.slowest_wait, seconds)

    def answered(self, status: int) -> None:
        """Note down what the API said to a token."""
        self.calls += 1
        if status == 401:
            self.refused += 1
        elif status != 200:
            self.went_wrong(f"the API answered {status}")

    def went_wrong(self, problem: str) -> None:
        """Note down that there was no token, or no answer."""
        self.failed += 1
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Summary:
    """All callers together. Times are in seconds."""

    calls: int
    refused: int
    failed: int
    problem: str | None
    first_wait: float
    slowest_wait: float


def summary(tallies: list[Tally]) -> Summary:
    """Add up *tallies*. Cheap enough to be done while the callers are at it."""
    return Summary(
        calls=sum(each.calls for each in tallies),
        refused=sum(each.refused for each in tallies),
        failed=sum(each.failed for each in tallies),
        problem=next((each.problem for each in tallies if each.problem), None),
        first_wait=max(each.first_wait or 0.0 for each in tallies),
        slowest_wait=max(each.slowest_wait for each in tallies),
    )


def quantiles(tallies: list[Tally], *shares: float) -> list[float]:
    """Return the waits that these *shares* of all waits do not exceed.

    It sorts them all and holds the GIL meanwhile: for the end.
    """
    waits = sorted(wait for each in tallies for wait in each.waits)
    if not waits:
        return [0.0 for _ in shares]
    return [waits[min(int(len(waits) * share), len(waits) - 1)] for share in shares]
