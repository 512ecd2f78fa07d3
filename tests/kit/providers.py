"""Providers whose answers a test controls, and which note what they are asked."""

import asyncio
import itertools
import os
import threading
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import anyio

from kit.guards import GUARD_SECONDS
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenAcquisitionError
from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.clock import SYSTEM_CLOCK, instant
from tokenkeeper.names import TokenParameters


class Source(BaseOAuth2Provider):
    """Grants NAME-1, NAME-2, ...; raises ``error`` if there is one; waits at ``gate``."""

    def __init__(self, name="api", *, clock, lifetime=3600.0, **options):
        super().__init__(name, **options)
        self.clock = clock
        self.lifetime = lifetime
        self.error = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.requests = 0
        self.refreshed = []
        self.closed = 0

    def acquire_token(self):
        self.requests += 1
        number = self.requests
        self.entered.release()
        assert self.gate.wait(20), "nobody opened the gate"
        if self.error is not None:
            raise self.error
        ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(seconds=self.lifetime)
        return OAuth2Token(f"{self.provider_name}-{number}", "Bearer", ends, scope="read")

    def refresh_token(self, token):
        self.refreshed.append(token.access_token)
        return self.acquire_token()

    def close(self):
        self.closed += 1


class ManyTokens(BaseOAuth2Provider):
    """Grants a token for whatever parameters a caller chooses, and notes for which.

    Its tokens are called ALICE-1, READ-2, ... after the account or scope, ``own-3`` without any.
    """

    takes = frozenset(each.name for each in fields(TokenParameters))

    def __init__(self, name="api", *, clock, lifetime=3600.0):
        super().__init__(name)
        self.clock = clock
        self.lifetime = lifetime
        self.requests = []  # these are shared with the variants, which are shallow copies
        self.failing = set()  # what its token would be called after

    def acquire_token(self):
        asked = self.parameters
        self.requests.append(asked)
        called = asked.account or asked.scope or "own"
        if called in self.failing:
            raise TokenAcquisitionError("no", provider_name=self.provider_name, transient=False)
        ends = datetime.fromtimestamp(self.clock.time(), UTC) + timedelta(seconds=self.lifetime)
        return OAuth2Token(f"{called}-{len(self.requests)}", "Bearer", ends)


ticks = itertools.count(1)
"""Orders what happens in different threads: a later event has the higher tick."""


class WatchedSource(BaseOAuth2Provider):
    """Grants tokens that say when they end, notes every request, and can be held up at a gate.

    It has no lock that a fork could copy in its locked state.
    """

    def __init__(self, name="api", *, lifetime=3600.0, clock=SYSTEM_CLOCK, **options):
        super().__init__(name, **options)
        self.lifetime = lifetime
        self.clock = clock
        self.error = None  # raised instead of a grant
        self.granted = {}  # token -> (tick when the request came, when it ends by the clock)
        self.came = []  # the tick of each request
        self.went = []
        self.overlaps = 0
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self):
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self._busy = threading.Lock()

    @property
    def requests(self):
        return len(self.came)

    def hold(self):
        """Let no further request through until the gate is opened."""
        self.entered.clear()
        self.gate.clear()

    def acquire_token(self):
        alone = self._busy.acquire(blocking=False)
        self.overlaps += not alone
        try:
            tick = next(ticks)
            self.came.append(tick)
            now = instant(self.clock)  # both clocks, with no pause of this thread between them
            ends = datetime.fromtimestamp(now.wall, UTC) + timedelta(seconds=self.lifetime)
            self.entered.set()
            assert self.gate.wait(GUARD_SECONDS), "nobody opened the gate"
            if self.error is not None:
                raise self.error
            token = f"{self.provider_name}-{os.getpid()}-{tick}-{ends.timestamp()}"
            self.granted[token] = (tick, now.monotonic + self.lifetime)
            return OAuth2Token(token, "Bearer", ends)
        finally:
            self.went.append(next(ticks))
            if alone:
                self._busy.release()

    def is_alive(self, token):
        """Return whether the server would accept *token* now."""
        return self.clock.monotonic() < self.granted[token][1]


class AsyncWatchedSource(WatchedSource):
    """The same with ``async def``; notes the loop and the thread that it runs on."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.places = set()
        self.asked = 0

    async def acquire_token(self):
        self.asked += 1
        self.places.add((threading.current_thread().name, asyncio.get_running_loop()))
        self.entered.set()
        with anyio.fail_after(GUARD_SECONDS):
            while not self.gate.is_set():
                await anyio.sleep(0.001)
        return super().acquire_token()
