"""What the demo is asked to show, what it measured, and which promises were broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenkeeper.cli.demo.tally import Summary
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS
from tokenkeeper.schedule import deadlines
from tokenkeeper.testing.stats import ServerStats

__all__ = ["SHORTEST_RUN", "Plan", "Report", "Side", "Snapshot"]

SHORTEST_RUN = 1.5
"""The lifetimes of a token that a run lasts at least, so that the outage falls into it."""

_OUTAGE_SHARE = 0.5  # of the time from the failed renewal to the token's expiry


@dataclass(frozen=True, slots=True)
class Plan:
    """What to show. :param lifetime_seconds: how long each token lives."""

    seconds: float = 15.0
    threads: int = 32
    tasks: int = 200
    lifetime_seconds: float = 6.0

    @property
    def outage_seconds(self) -> float:
        """How long the token endpoint stays down after the first renewal that fails.

        Longer than a retry takes, and shorter than the remaining lifetime of the token.
        """
        times = deadlines(0.0, self.lifetime_seconds, DEFAULT_BUFFER_SECONDS, 0.0)
        return (times.dead_at - times.renew_at) * _OUTAGE_SHARE


@dataclass(frozen=True, slots=True)
class Side:
    """One half of the comparison: its callers, and the server that they use."""

    callers: Summary
    server: ServerStats

    @property
    def unsuccessful_calls(self) -> int:
        """How many calls failed or were refused, by whichever count is higher."""
        return max(self.callers.refused, self.server.api_refusals) + self.callers.failed

    def as_dict(self) -> dict[str, Any]:
        """Return the counts as JSON can hold them."""
        return {
            "calls": self.callers.calls,
            "calls_refused": self.callers.refused,
            "calls_failed": self.callers.failed,
            "dead_tokens": self.server.api_dead,
            "token_requests": self.server.token_requests,
            "token_requests_at_once": self.server.max_concurrent_token_requests,
            "slowest_call_ms": _milliseconds(self.callers.slowest_call),
            "slowest_get_token_ms": _milliseconds(self.callers.slowest_wait),
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The counts at one moment of the run."""

    elapsed_seconds: float
    endpoint_is_up: bool
    renewals: int
    keeper: Side
    naive: Side


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run.

    :ivar outage_began: in seconds from the start; ``None`` if there was no outage.
    :ivar outage_requests: the token requests of the keeper that met the outage.
    """

    plan: Plan
    end: Snapshot
    interrupted: bool
    outage_began: float | None
    outage_seconds: float
    outage_requests: int
    median_wait: float
    p99_wait: float

    @property
    def problems(self) -> list[str]:
        """The promises that the keeper broke, in words; an empty list if it kept them all."""
        callers, server = self.end.keeper.callers, self.end.keeper.server
        found = []
        if callers.refused or server.api_refusals:
            refused = max(callers.refused, server.api_refusals)
            reasons = ", ".join(f"{count} {name}" for name, count in server.api_refused.items())
            found.append(f"the API refused {refused:,} calls ({reasons or 'no reason given'})")
        if server.api_dead:
            found.append(f"{server.api_dead:,} calls were made with an expired token")
        if callers.failed:
            found.append(f"{callers.failed:,} calls failed, for example with {callers.problem}")
        if server.max_concurrent_token_requests > 1:
            most = server.max_concurrent_token_requests
            found.append(f"{most} token requests were in flight at once")
        if not self.interrupted:
            if not self.end.renewals:
                found.append("no token was renewed")
            elif self.outage_began is None or not self.outage_requests:
                found.append("no renewal met the outage")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the whole report as JSON can hold it."""
        callers = self.end.keeper.callers
        return {
            "ok": not self.problems and not self.interrupted,
            "problems": self.problems,
            "interrupted": self.interrupted,
            "seconds": round(self.end.elapsed_seconds, 3),
            "threads": self.plan.threads,
            "tasks": self.plan.tasks,
            "lifetime_seconds": self.plan.lifetime_seconds,
            **self.end.keeper.as_dict(),
            "renewals": self.end.renewals,
            "outage": {
                "began_seconds": self.outage_began and round(self.outage_began, 3),
                "seconds": round(self.outage_seconds, 3),
                "token_requests": self.outage_requests,
            },
            "first_token_ms": _milliseconds(callers.first_wait),
            "get_token_ms": {
                "median": _milliseconds(self.median_wait),
                "p99": _milliseconds(self.p99_wait),
                "slowest": _milliseconds(callers.slowest_wait),
            },
            "naive_client": self.end.naive.as_dict(),
        }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 4)
