"""Counts the fleet's requests and new tokens of the last hour, from what a store shows of them.

Each request begins with a claim, so the fence grows by one. Each new token has a new generation. A
healthy fleet makes one request for each token.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenkeeper.stores.views import RecordView, StoreOverview

__all__ = ["History", "Tally", "Trend"]

MINUTES = 60
MINUTE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Tally:
    """How many requests were made, and how many tokens they brought.

    Counts may have fractions, where what happened during several minutes was seen at once.
    """

    requests: float = 0.0
    tokens: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.requests + other.requests, self.tokens + other.tokens)

    def over(self, parts: int) -> Tally:
        """Return the part of each of *parts* equal parts."""
        return Tally(self.requests / parts, self.tokens / parts)


@dataclass(frozen=True, slots=True)
class Trend:
    """What happened in the last hour, or since the dashboard first looked.

    :ivar seconds: the time that it covers.
    :ivar fleet: all records together.
    :ivar minutes: all records by minute, the current minute last; at most 60.
    :ivar by_key: each record that had a request or a new token.
    """

    seconds: float = 0.0
    fleet: Tally = field(default_factory=Tally)
    minutes: tuple[Tally, ...] = ()
    by_key: Mapping[str, Tally] = field(default_factory=dict)


class History:
    """Remembers the last hour of each record that the latest overview shows. Not thread-safe."""

    def __init__(self) -> None:
        self._began_at: float | None = None
        self._seen_at = 0.0
        self._counters: dict[str, tuple[int, int]] = {}
        self._was_partial = False  # whether the last overview left out records
        self._minutes: deque[tuple[int, dict[str, Tally]]] = deque(maxlen=MINUTES)

    def observe(self, overview: StoreOverview, now: float) -> Trend:
        """Add what happened since the last overview, and return the last hour.

        :param now: the current time on a monotonic clock, in seconds.
        """
        first = self._began_at is None
        if self._began_at is None:
            self._began_at = self._seen_at = now
        grown = {} if first else self._grown(overview.records)
        self._add(grown, int(self._seen_at // MINUTE_SECONDS), int(now // MINUTE_SECONDS))
        self._counters = {each.key: (each.fence, each.generation) for each in overview.records}
        self._was_partial = overview.totals.shown < overview.totals.records
        self._seen_at = now
        return self._trend(now)

    def _grown(self, records: tuple[RecordView, ...]) -> dict[str, Tally]:
        """Return what happened to each record since the last overview."""
        grown = {}
        for record in records:
            if record.key not in self._counters and self._was_partial:
                continue  # perhaps it was left out before
            # A record that appears was created meanwhile. One with smaller numbers was created
            # again, so its numbers before say nothing.
            fence, generation = self._counters.get(record.key, (0, 0))
            if record.fence < fence or record.generation < generation:
                continue
            # Where a token was forgotten, the generation grew without a new token.
            new_tokens = record.generation - generation if record.state != "none" else 0
            if record.key not in self._counters:
                # After a store lost its records, generations go on, and fences begin again.
                new_tokens = min(new_tokens, record.fence)
            if record.fence > fence or new_tokens:
                grown[record.key] = Tally(record.fence - fence, new_tokens)
        return grown

    def _add(self, grown: Mapping[str, Tally], last: int, current: int) -> None:
        """Spread *grown* evenly over the minutes since the last overview."""
        first = max(last, current - MINUTES + 1)
        for minute in range(first, current + 1):
            if not self._minutes or self._minutes[-1][0] != minute:
                self._minutes.append((minute, {}))
            counts = self._minutes[-1][1]
            for key, tally in grown.items():
                counts[key] = counts.get(key, Tally()) + tally.over(current - first + 1)

    def _trend(self, now: float) -> Trend:
        by_key: dict[str, Tally] = {}
        minutes = []
        for _, counts in self._minutes:
            for key, tally in counts.items():
                by_key[key] = by_key.get(key, Tally()) + tally
            minutes.append(sum(counts.values(), Tally()))
        shown = {key: tally for key, tally in by_key.items() if key in self._counters}
        return Trend(
            seconds=min(now - (self._began_at or 0.0), MINUTES * MINUTE_SECONDS),
            fleet=sum(minutes, Tally()),
            minutes=tuple(minutes),
            by_key=shown,
        )
