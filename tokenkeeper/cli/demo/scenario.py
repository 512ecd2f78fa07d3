"""One run of the demo, from the first call to the report."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import requests

from tokenkeeper.cli.demo.clients import PROVIDER_NAME, Client, NaiveClient, keeper_client
from tokenkeeper.cli.demo.load import Load
from tokenkeeper.cli.demo.outage import Outage
from tokenkeeper.cli.demo.report import Plan, Report, Side, Snapshot
from tokenkeeper.cli.demo.tally import quantiles, summary
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.testing.server import LoopbackAuthorizationServer

__all__ = ["run"]

_TICK_SECONDS = 0.03
_FRAME_SECONDS = 0.25
_OUTAGE_TICK_SECONDS = 0.01

_RETRY = RetryPolicy(initial_wait_seconds=0.1)  # the default suits lifetimes of minutes


def make_provider(config: OAuth2Config, session: requests.Session) -> BaseOAuth2Provider:
    """Return the provider of the demo's keeper."""
    return GenericOAuth2Provider(config, session=session, retry=_RETRY)


@contextmanager
def _keeper_for(server: LoopbackAuthorizationServer) -> Iterator[TokenKeeper]:
    with requests.Session() as session, TokenKeeper() as keeper:
        session.trust_env = False  # no proxy and no netrc for a loopback server
        keeper.add_provider(make_provider(server.config(PROVIDER_NAME), session))
        yield keeper


def _make_server(plan: Plan) -> LoopbackAuthorizationServer:
    return LoopbackAuthorizationServer(lifetime_seconds=plan.lifetime_seconds)


def run(
    plan: Plan, show: Callable[[Snapshot], None], interrupted: Callable[[], bool] = lambda: False
) -> Report:
    """Run the demo.

    The keeper and the naive clients have equal loads at the same time. Each side has a server of
    its own, so that the requests of one are neither counted nor waited for by the other.

    :param show: called with the counts a few times each second.
    :param interrupted: whether to stop early and report what was seen up to then.
    """
    with (
        # In this process: a server in its own process did not make get_token look faster.
        _make_server(plan) as server,
        _make_server(plan) as naive_server,
        _keeper_for(server) as keeper,
    ):
        client, naive_config = keeper_client(keeper), naive_server.config(PROVIDER_NAME)

        def make_naive_client() -> Client:
            naive = NaiveClient(naive_config)
            return Client(naive.get_token, naive.get_token_async)

        callers = {"threads": plan.threads, "tasks": plan.tasks}
        sides = (
            _MeasuredLoad(Load(lambda: client, server.api_url, **callers), server),
            _MeasuredLoad(Load(make_naive_client, naive_server.api_url, **callers), naive_server),
        )
        return _Run(plan, keeper, *sides).run(show, interrupted)


class _MeasuredLoad:
    """A load, and the server that sees it."""

    def __init__(self, load: Load, server: LoopbackAuthorizationServer) -> None:
        self.load = load
        self.server = server

    def measure(self) -> Side:
        """Return the counts so far."""
        return Side(summary(self.load.tallies), self.server.stats())


class _Run:
    """One run: keeps the time, controls the outage and takes snapshots."""

    def __init__(
        self, plan: Plan, keeper: TokenKeeper, kept: _MeasuredLoad, naive: _MeasuredLoad
    ) -> None:
        self._plan = plan
        self._keeper = keeper
        self._kept = kept
        self._naive = naive
        self._began = 0.0
        self._outage = Outage(plan, kept.server, [naive.server])

    def run(self, show: Callable[[Snapshot], None], interrupted: Callable[[], bool]) -> Report:
        loads = (self._kept.load, self._naive.load)
        for load in loads:
            load.start()
        self._began = SYSTEM_CLOCK.monotonic()
        over = threading.Event()
        # On a thread of its own: a slow frame must not make the outage outlast the token.
        controller = threading.Thread(target=self._control_outage, args=(over,), daemon=True)
        controller.start()
        try:
            is_complete = self._watch(show, interrupted)
        finally:
            over.set()
            controller.join()
            self._outage.end(self._elapsed())
            for load in loads:
                load.stop()
            for load in loads:
                load.join()
        report = self._report(interrupted=not is_complete)
        if is_complete:
            show(report.end)  # so that the last frame agrees with the report
        return report

    def _watch(self, show: Callable[[Snapshot], None], interrupted: Callable[[], bool]) -> bool:
        """Return whether the run was completed."""
        never = threading.Event()
        next_frame = 0.0
        while not self._is_over(elapsed := self._elapsed()):
            if interrupted():
                return False
            if elapsed >= next_frame:
                next_frame = elapsed + _FRAME_SECONDS
                show(self._snapshot())
            SYSTEM_CLOCK.wait(never, _TICK_SECONDS)
        return True

    def _control_outage(self, over: threading.Event) -> None:
        while not SYSTEM_CLOCK.wait(over, _OUTAGE_TICK_SECONDS):
            self._outage.update(self._elapsed())

    def _is_over(self, elapsed: float) -> bool:
        # On a busy machine the outage begins late. Wait until it is over, but not forever.
        if elapsed < self._plan.seconds:
            return False
        latest = self._plan.seconds + self._plan.lifetime_seconds
        return self._outage.is_survived() or elapsed >= latest

    def _elapsed(self) -> float:
        return SYSTEM_CLOCK.monotonic() - self._began

    def _snapshot(self) -> Snapshot:
        info = self._keeper.get_cached_token_info(PROVIDER_NAME)
        return Snapshot(
            elapsed_seconds=self._elapsed(),
            endpoint_is_up=not self._outage.is_on,
            renewals=info["renewals"] if info else 0,
            keeper=self._kept.measure(),
            naive=self._naive.measure(),
        )

    def _report(self, *, interrupted: bool) -> Report:
        median, p99 = quantiles(self._kept.load.tallies, 0.5, 0.99)
        outage = self._outage
        return Report(
            plan=self._plan,
            end=self._snapshot(),
            interrupted=interrupted,
            outage_began=outage.began,
            outage_seconds=(outage.ended or 0.0) - (outage.began or 0.0),
            outage_requests=outage.refused,
            median_wait=median,
            p99_wait=p99,
        )
