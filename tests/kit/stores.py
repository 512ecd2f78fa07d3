"""Stores that fail as a test wants, and fleets of keepers that share one."""

import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from kit import internals
from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenAcquisitionError, TokenKeeper
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.sealed import Plain
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.testing.events import EventRecorder
from tokenkeeper.testing.stores import MemoryTokenStore

OPERATIONS = ("read", "claim", "publish", "fail", "forget")


class ShiftedClock:
    """A store's own clock: that of the test, and ``shift`` seconds."""

    def __init__(self, clock):
        self.clock = clock
        self.shift = 0.0

    def monotonic(self):
        return self.clock.monotonic() + self.shift


class FaultyStore(MemoryTokenStore):
    """A store in memory whose operations fail as a test wants.

    :ivar failing: the names of the operations that fail.
    :ivar executes: whether an operation that fails is executed nevertheless: its client gave up.
    :ivar hangs_for: how many seconds an operation takes before it fails.
    :ivar back_at: when failing operations work again, on the clock; ``None`` for not at all.
    :ivar before: what to call once before the next operation of a name.
    :ivar after: what to call once after the next operation of a name.
    :ivar calls: the names of all operations, in order.
    :ivar distort: returns what the store reports in place of a record.
    """

    def __init__(self, clock):
        self.own_clock = ShiftedClock(clock)
        super().__init__(self.own_clock)
        self.clock = clock
        self.failing = frozenset()
        self.executes = False
        self.hangs_for = 0.0
        self.back_at = None
        self.before = {}
        self.after = {}
        self.calls = []
        self.distort = lambda record: record

    def go_down(self, *operations, executes=False, hangs_for=0.0, seconds=None):
        """Let *operations*, or all, fail from now on, or for that many seconds."""
        self.failing = frozenset(operations or OPERATIONS)
        self.executes, self.hangs_for = executes, hangs_for
        self.back_at = None if seconds is None else self.clock.monotonic() + seconds

    def come_back(self):
        """Let all operations work again."""
        self.failing = frozenset()

    def snapshot(self):
        """Return all records as they are now."""
        return copy.deepcopy(self._entries)

    def roll_back(self, snapshot):
        """Replace all records by those of *snapshot*."""
        self._entries = copy.deepcopy(snapshot)

    def wipe(self):
        """Forget everything, as a cache that was restarted."""
        self._entries = {}

    def put(self, key, replaces, sealed):
        """Store something under the next generation, as a process outside the test."""
        super().publish(
            key,
            owner="another",
            replaces=replaces,
            generation=replaces + 1,
            sealed=sealed,
            lifetime_seconds=3600.0,
            age_seconds=0.0,
            keep=False,
        )

    @property
    def entry(self):
        """The only record, to be changed in place."""
        (entry,) = self._entries.values()
        return entry

    @property
    def record(self):
        """What the store reports of the only record."""
        (key,) = self._entries
        return super().read(key)

    def _operate(self, name, operation):
        self.calls.append(name)
        if name in self.before:
            self.before.pop(name)()
        if self.back_at is not None and self.clock.monotonic() >= self.back_at:
            self.come_back()
        fails = name in self.failing
        result = operation() if self.executes or not fails else None
        if fails:
            self.clock.step(self.hangs_for)
            raise StoreUnavailableError("the store does not answer. Start it.")
        if name in self.after:
            self.after.pop(name)()
        return result

    def read(self, key):
        return self._operate("read", lambda: self.distort(super(FaultyStore, self).read(key)))

    def claim(self, key, **options):
        def claim():
            answer = super(FaultyStore, self).claim(key, **options)
            return replace(answer, record=self.distort(answer.record))

        return self._operate("claim", claim)

    def publish(self, key, **options):
        return self._operate("publish", lambda: super(FaultyStore, self).publish(key, **options))

    def fail(self, key, **options):
        return self._operate("fail", lambda: super(FaultyStore, self).fail(key, **options))

    def forget(self, key, **options):
        return self._operate("forget", lambda: super(FaultyStore, self).forget(key, **options))


class Server:
    """The authorization server of a fleet: grants token-1, token-2, ..., and counts.

    With ``rotates``, it grants refresh tokens that work once, and revokes the family of one that is
    used again, as RFC 9700 §4.14.2 advises.

    :ivar error: what it raises instead of a grant.
    :ivar during: what to call once while the next request is under way.
    :ivar loses: whether the response to the next request is lost.
    """

    def __init__(self, clock, *, rotates=False):
        self.clock = clock
        self.rotates = rotates
        self.lifetime = 3600.0
        self.error = None
        self.during = None
        self.loses = False
        self.requests = 0
        self.expiries = {}
        self.good = "seed"
        self.spent = set()
        self.is_revoked = False

    def grant(self, refresh_token=None):
        """Answer one token request."""
        self.requests += 1
        number = self.requests
        if self.rotates:
            self._spend(refresh_token)
        if self.error is not None:
            raise self.error
        sent, sent_wall = self.clock.monotonic(), self.clock.time()
        self.expiries[f"token-{number}"] = sent + self.lifetime
        if self.rotates:
            self.spent.add(refresh_token)
            self.good = f"refresh-{number}"
        during, self.during = self.during, None
        if during is not None:
            during()
        if self.loses:
            self.loses = False
            raise TokenAcquisitionError("the connection was lost", network_reason="timeout")
        ends = datetime.fromtimestamp(sent_wall, UTC) + timedelta(seconds=self.lifetime)
        refresh = f"refresh-{number}" if self.rotates else None
        return OAuth2Token(f"token-{number}", "Bearer", ends, refresh_token=refresh)

    def _spend(self, refresh_token):
        if refresh_token in self.spent:
            self.is_revoked = True
        if self.is_revoked or refresh_token != self.good:
            raise TokenAcquisitionError(
                "the refresh token is not valid", error="invalid_grant", status_code=400
            )

    def is_alive(self, token):
        """Return whether *token* has not expired, whatever anybody's clock says."""
        return self.clock.monotonic() < self.expiries[token]


class FleetProvider(BaseOAuth2Provider):
    """One process's client of a :class:`Server`; it uses refresh tokens where they rotate."""

    def __init__(self, server, name="api", **options):
        super().__init__(name, **options)
        self.server = server
        self.repeatable = not server.rotates

    def acquire_token(self):
        return self.server.grant("seed")

    def refresh_token(self, token):
        return self.server.grant(token.refresh_token or "seed")

    def describe(self):
        return {"type": "fleet"}


class KeeperFleet:
    """Keepers that share one store, each as a process of its own."""

    def __init__(self, clock, store, server):
        self.clock = clock
        self.store = store
        self.server = server
        self.keepers = []

    def keeper(
        self,
        *,
        threads=False,
        clock=None,
        jitter=0.5,
        when_unavailable="alone",
        sealer=None,
        provider=None,
        **options,
    ):
        """Return one more keeper, which notes its events in ``events``.

        :param threads: whether it has threads of its own; otherwise renewals run where they are
            started, and the test plays the scheduler.
        """
        settings = StoreSettings(
            store=self.store,
            sealer=sealer or Plain(),
            when_unavailable=when_unavailable,
            label="memory",
        )
        events = EventRecorder()
        keeper = TokenKeeper(
            clock=clock or self.clock,
            jitter=lambda: jitter,
            store=settings,
            hooks=[events],
            **options,
        )
        keeper.events = events
        internals.take_over_scheduler(keeper)
        internals.deliver_inline(keeper)
        if not threads:
            internals.run_jobs_inline(keeper)
        internals.fleet(keeper).place = f"host:{len(self.keepers) + 1}"
        keeper.add_provider(provider or FleetProvider(self.server))
        self.keepers.append(keeper)
        return keeper

    def several(self, count, **options):
        """Return *count* more keepers."""
        return [self.keeper(**options) for _ in range(count)]

    def close(self):
        """Close all keepers. They would wait for a store that is down."""
        self.store.come_back()
        for keeper in self.keepers:
            internals.release_scheduler(keeper)
            keeper.close()


def continue_as_child(keeper):
    """Go on as the child of a fork, without threads."""
    internals.after_fork_in_child(keeper)
    internals.take_over_scheduler(keeper)
    internals.deliver_inline(keeper)
    internals.run_jobs_inline(keeper)


def renew_when_due(keeper, clock, name="api"):
    """Step the clock to the next renewal of *name*, and play the scheduler."""
    clock.step(max(0.0, internals.cached(keeper, name).renew_at - clock.monotonic()))
    return internals.look(keeper)


def leave_claim(fleet, claim_age=0.0, *, intent="host:9 is about to request a token"):
    """Leave a claim of a process that is gone, so many seconds old."""
    key = internals.record_key(fleet.keepers[0])
    generation = fleet.store.read(key).generation
    fleet.store.claim(
        key, owner="gone", generation=generation, older_than_seconds=0.0, intent=intent
    )
    fleet.clock.step(claim_age)
