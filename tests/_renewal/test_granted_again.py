"""Servers that grant the same token again, with its remaining lifetime, until it has expired."""

import math
from datetime import UTC, datetime, timedelta

import pytest
from kit import internals

from tokenkeeper import (
    BaseOAuth2Provider,
    OAuth2Token,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.testing import SteppedClock

TICK_SECONDS = 0.05
"""How often the API is called near the expiry of a token; elsewhere a tenth of that is enough."""

EARLY_SECONDS = 1e-6
"""The tolerance for sums of ticks."""


class Server(BaseOAuth2Provider):
    """Grants one token until it expires, and states its remaining lifetime rounded or exactly.

    :param early: the remaining lifetime below which it grants another token.
    :param counts: the function that rounds the remaining lifetime.
    :param dates: the function that rounds the time of a grant.
    :param older: the age of the first token, which other clients were granted before.
    :param takes: how long the first half of a request takes, and the second.
    """

    def __init__(
        self,
        clock,
        lifetime,
        *,
        early=0.0,
        counts=float,
        dates=float,
        takes=0.0,
        older=0.0,
        **options,
    ):
        super().__init__("api", **options)
        self.clock = clock
        self.lifetime = lifetime
        self.early = early
        self.counts = counts
        self.dates = dates
        self.takes = takes
        self.requests = []
        self.ends = {}  # token -> when it expires, by the server
        self.text = None
        if older:
            self.text = "token-1"
            self.ends[self.text] = dates(clock.time() - older) + lifetime

    def acquire_token(self):
        sent = self.clock.time()
        self.requests.append(sent)
        self.clock.step(self.takes)
        now = self.clock.time()
        if self.text is None or self.ends[self.text] - now <= max(self.early, 0):
            self.text = f"token-{len(self.ends) + 1}"
            self.ends[self.text] = self.dates(now) + self.lifetime
            left = self.lifetime
        else:
            left = self.counts(self.ends[self.text] - now)
        self.clock.step(self.takes)
        if left <= 0:  # like our own provider
            raise TokenAcquisitionError(
                "the token is about to expire", status_code=200, transient=True, retry_after=1.0
            )
        expires_at = datetime.fromtimestamp(sent, UTC) + timedelta(seconds=left)
        return OAuth2Token(self.text, "Bearer", expires_at)


class Reads:
    """Reads a token at each tick, and records the results.

    :ivar outage: the longest time between two successful reads, beyond the tick.
    :ivar failed: the errors.
    :ivar dead: reads of a token that had expired for the server.
    """

    def __init__(self, server, *, background=True):
        self.server = server
        self.clock = server.clock
        self.outage = 0.0
        self.failed = []
        self.dead = []
        self.keeper = TokenKeeper(
            clock=self.clock, jitter=lambda: 0.0, cooldown_seconds=30, background=background
        )
        self.keeper.add_provider(server)
        if background:
            internals.run_jobs_inline(self.keeper)
            internals.take_over_scheduler(self.keeper)

    def run(self, seconds):
        """Read for *seconds*, and return self."""
        until = self.clock.time() + seconds
        self.latest = None
        while self.clock.time() < until:
            internals.renew_due(self.keeper)
            self.read()
            left = self.server.ends[self.server.text] - self.clock.time()
            self.tick = TICK_SECONDS if left < 10 else 10 * TICK_SECONDS
            self.clock.step(self.tick)
        internals.release_scheduler(self.keeper)
        self.keeper.close()
        return self

    def read(self):
        began = self.clock.time()
        try:
            token = self.keeper.get_token("api")
        except TokenAcquisitionError as error:
            self.failed.append((began, error))
        else:
            now = self.clock.time()
            if self.server.ends[token] < now - EARLY_SECONDS:
                self.dead.append(began)
            if self.latest is not None:
                self.outage = max(self.outage, now - self.latest - self.tick)
            self.latest = now

    @property
    def requests_per_token(self):
        return len(self.server.requests) / len(self.server.ends)


def half_up(seconds):
    return math.floor(seconds + 0.5)


@pytest.fixture
def clock():
    """Return a clock that waits step, because one thread plays all parts."""
    return SteppedClock(auto_step=True)


SERVERS = [
    pytest.param({}, id="exact"),
    pytest.param({"counts": math.floor}, id="floor"),
    pytest.param({"counts": math.ceil}, id="ceil"),
    pytest.param({"counts": half_up}, id="half up"),
    pytest.param({"counts": math.floor, "dates": math.floor}, id="dated"),
    pytest.param({"counts": math.ceil, "dates": math.floor, "takes": 0.1}, id="dated and slow"),
    pytest.param({"counts": math.floor, "takes": 0.1}, id="slow"),
    pytest.param({"counts": math.floor, "older": 3.2}, id="older"),
    pytest.param({"counts": math.ceil, "older": 3.2, "dates": math.floor}, id="older and dated"),
    pytest.param({"early": 3.0, "counts": math.floor}, id="early"),
    pytest.param({"early": 1.5}, id="a little early"),
    pytest.param({"early": 10.0}, id="very early"),
]


@pytest.mark.slow
@pytest.mark.parametrize("start", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("background", [True, False], ids=["background", "inline"])
@pytest.mark.parametrize("lifetime", [15.0, 60.0, 3600.0])
@pytest.mark.parametrize("server", SERVERS)
def test_read_all_the_time(clock, server, lifetime, background, start):
    """No read fails or gets an expired token, the longest wait is short, and requests are few."""
    clock.step(start)
    reads = Reads(Server(clock, lifetime, **server), background=background)
    reads.run(min(3 * lifetime + 5, 3700))
    assert reads.failed == []
    assert reads.dead == []
    assert reads.outage <= 2.0
    assert reads.requests_per_token <= 9


@pytest.mark.parametrize("lifetime", [15.0, 60.0])
def test_without_retries(clock, lifetime):
    """A policy of one attempt changes nothing: the server only said that it is too early."""
    server = Server(clock, lifetime, counts=math.floor, retry=RetryPolicy(attempts=1))
    reads = Reads(server).run(3 * lifetime)
    assert reads.failed == []
    assert 0.5 < reads.outage <= 2.0
