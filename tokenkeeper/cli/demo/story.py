"""What happens in the demo, and what is to be said of it in the end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import requests

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.cli.demo.load import PROVIDER_NAME, Load
from tokenkeeper.cli.demo.tally import Summary, quantiles, summary
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Config
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.schedule import deadlines
from tokenkeeper.testing.server import LoopbackAuthorizationServer
from tokenkeeper.testing.stats import ServerStats

__all__ = ["LEAST_LIVES", "Moment", "Plan", "Report", "play"]

LEAST_LIVES = 1.5
"""How many lives of a token a run needs at least, so that the outage falls into it."""

_OUTAGE_AFTER = 0.35  # of the run; the next renewal is at most 0.57 of a life away then
_OUTAGE_SHARE = 0.7  # from there on, of the time in which the token can still be used
_TICK_SECONDS = 0.03
_FRAME_SECONDS = 0.25

_RETRY = RetryPolicy(initial_wait_seconds=0.1)  # the default is made for lives of minutes


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be shown. :param lifetime_seconds: how long each token lives."""

    seconds: float = 15.0
    threads: int = 32
    tasks: int = 200
    lifetime_seconds: float = 6.0

    @property
    def outage_seconds(self) -> float:
        """How long after the first renewal that fails the token endpoint comes back.

        Longer than a retry takes, and shorter than what is left of the token then.
        """
        times = deadlines(0.0, self.lifetime_seconds, DEFAULT_BUFFER_SECONDS, 0.0)
        return (times.dead_at - times.renew_at) * _OUTAGE_SHARE


@dataclass(frozen=True, slots=True)
class Moment:
    """How it stands."""

    elapsed_seconds: float
    endpoint_is_up: bool
    renewals: int
    callers: Summary
    server: ServerStats


@dataclass(frozen=True, slots=True)
class Report:
    """How it went. *outage_began* is in seconds from the start, ``None`` if there was none."""

    plan: Plan
    end: Moment
    interrupted: bool
    outage_began: float | None
    outage_seconds: float
    outage_requests: int
    median_wait: float
    p99_wait: float

    @property
    def problems(self) -> list[str]:
        """What went wrong, in plain words; nothing if all promises were kept."""
        callers, server = self.end.callers, self.end.server
        found = []
        if callers.refused or server.api_refusals:
            refused = max(callers.refused, server.api_refusals)
            reasons = ", ".join(f"{count} {name}" for name, count in server.api_refused.items())
            found.append(f"the API refused {refused:,} calls ({reasons or 'it says not why'})")
        if server.api_dead:
            found.append(f"{server.api_dead:,} calls were made with a dead token")
        if callers.failed:
            found.append(f"{callers.failed:,} calls failed, for example by {callers.problem}")
        if server.max_concurrent_token_requests > 1:
            most = server.max_concurrent_token_requests
            found.append(f"{most} token requests were under way at once")
        if not self.interrupted:
            if not self.end.renewals:
                found.append("no token was renewed")
            elif self.outage_began is None or not self.outage_requests:
                found.append("no renewal met the outage")
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for machines."""
        callers, server = self.end.callers, self.end.server
        return {
            "ok": not self.problems and not self.interrupted,
            "problems": self.problems,
            "interrupted": self.interrupted,
            "seconds": round(self.end.elapsed_seconds, 3),
            "threads": self.plan.threads,
            "tasks": self.plan.tasks,
            "lifetime_seconds": self.plan.lifetime_seconds,
            "calls": callers.calls,
            "calls_refused": callers.refused,
            "calls_failed": callers.failed,
            "dead_tokens": server.api_dead,
            "token_requests": server.token_requests,
            "token_requests_at_once": server.max_concurrent_token_requests,
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
        }


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 4)


def make_provider(config: OAuth2Config, session: requests.Session) -> BaseOAuth2Provider:
    """Return what the keeper of the demo asks for tokens."""
    return GenericOAuth2Provider(config, session=session, retry=_RETRY)


def play(
    plan: Plan, watch: Callable[[Moment], None], interrupted: Callable[[], bool] = lambda: False
) -> Report:
    """Run the demo; *watch* is shown how it stands a few times each second.

    :param interrupted: whether to end early, with a report of what was seen up to then.
    """
    with (
        # In this process: one of its own was measured and made get_token look no faster.
        LoopbackAuthorizationServer(lifetime_seconds=plan.lifetime_seconds) as server,
        requests.Session() as session,
        TokenKeeper() as keeper,
    ):
        session.trust_env = False  # neither a proxy nor a netrc on the way to loopback
        keeper.add_provider(make_provider(server.config(PROVIDER_NAME), session))
        load = Load(keeper, server.api_url, threads=plan.threads, tasks=plan.tasks)
        return _Stage(plan, server, keeper, load).play(watch, interrupted)


class _Stage:
    """One run: looks after the time, the outage and the onlookers."""

    def __init__(
        self,
        plan: Plan,
        server: LoopbackAuthorizationServer,
        keeper: TokenKeeper,
        load: Load,
    ) -> None:
        self._plan = plan
        self._server = server
        self._keeper = keeper
        self._load = load
        self._began = 0.0
        self._outage = _Outage(plan, server)

    def play(self, watch: Callable[[Moment], None], interrupted: Callable[[], bool]) -> Report:
        self._load.start()
        self._began = SYSTEM_CLOCK.monotonic()
        try:
            is_whole = self._go_on(watch, interrupted)
        finally:
            self._outage.end(self._elapsed())
            self._load.stop()
        return self._report(interrupted=not is_whole)

    def _go_on(self, watch: Callable[[Moment], None], interrupted: Callable[[], bool]) -> bool:
        """Return whether it went on to its end."""
        never = threading.Event()
        next_frame = 0.0
        while not self._is_over(elapsed := self._elapsed()):
            if interrupted():
                return False
            self._outage.look(elapsed)
            if elapsed >= next_frame:
                next_frame = elapsed + _FRAME_SECONDS
                watch(self._moment())
            SYSTEM_CLOCK.wait(never, _TICK_SECONDS)
        return True

    def _is_over(self, elapsed: float) -> bool:
        # On a busy machine the outage comes late. It is waited for, but not for ever.
        if elapsed < self._plan.seconds:
            return False
        granted = self._server.stats().tokens_granted
        return (
            self._outage.survived_by(granted)
            or elapsed >= self._plan.seconds + self._plan.lifetime_seconds
        )

    def _elapsed(self) -> float:
        return SYSTEM_CLOCK.monotonic() - self._began

    def _moment(self) -> Moment:
        held = self._keeper.get_cached_token_info(PROVIDER_NAME)
        return Moment(
            elapsed_seconds=self._elapsed(),
            endpoint_is_up=self._server.down is None,
            renewals=held["renewals"] if held else 0,
            callers=summary(self._load.tallies),
            server=self._server.stats(),
        )

    def _report(self, *, interrupted: bool) -> Report:
        median, p99 = quantiles(self._load.tallies, 0.5, 0.99)
        outage = self._outage
        return Report(
            plan=self._plan,
            end=self._moment(),
            interrupted=interrupted,
            outage_began=outage.began,
            outage_seconds=(outage.ended or 0.0) - (outage.began or 0.0),
            outage_requests=outage.refused,
            median_wait=median,
            p99_wait=p99,
        )


class _Outage:
    """Takes the token endpoint down once, until renewals have failed for a while."""

    def __init__(self, plan: Plan, server: LoopbackAuthorizationServer) -> None:
        self._plan = plan
        self._server = server
        self._refused_before = 0
        self._granted_before = 0
        self._met: float | None = None  # when a request was first seen to be refused
        self.began: float | None = None
        self.ended: float | None = None
        self.refused = 0

    def look(self, elapsed: float) -> None:
        """Begin or end the outage, if it is time."""
        if self.ended is not None:
            return
        if self.began is None:
            if elapsed >= self._plan.seconds * _OUTAGE_AFTER:
                self.began = elapsed
                self._refused_before = self._refused()
                self._server.go_down()
            return
        if self._met is None and self._refused() > self._refused_before:
            self._met = elapsed
        if self._met is not None and elapsed >= self._met + self._plan.outage_seconds:
            self.end(elapsed)

    def end(self, elapsed: float) -> None:
        """End the outage, if it is on."""
        if self.began is None or self.ended is not None:
            return
        self.ended = elapsed
        self.refused = self._refused() - self._refused_before
        self._granted_before = self._server.stats().tokens_granted
        self._server.come_back()

    def survived_by(self, tokens_granted: int) -> bool:
        """Say whether it is over, and a token was granted since."""
        return self.ended is not None and tokens_granted > self._granted_before

    def _refused(self) -> int:
        stats = self._server.stats()
        return stats.token_requests - stats.tokens_granted
