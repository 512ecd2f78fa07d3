"""Keepers that present each token to an API at once, and helpers for many callers."""

import threading
import time
from contextvars import ContextVar

import anyio
import anyio.to_thread

from kit import internals
from kit.crowds import at_once, tasks_at_once
from kit.guards import GUARD_SECONDS, until
from kit.processes import Child
from tokenkeeper import OAuth2TokenManager, TokenKeeper
from tokenkeeper._renewal.cached_token import CachedToken

__all__ = [
    "GUARD_SECONDS",
    "Child",
    "Watch",
    "WatchedKeeper",
    "WatchedManager",
    "at_once",
    "tasks_at_once",
    "until",
    "work",
]

_held_before = ContextVar("held_before", default=None)


class Watch:
    """Presents tokens to the API, and records unexpected results.

    :ivar margin_seconds: the minimum remaining lifetime of a token that is handed out.
    :ivar accepted: tokens that the API accepted.
    :ivar rejected: answers of the API to tokens that it should have accepted.
    :ivar late: rejections after calls that a stalled machine made too late.
    :ivar needless: tokens that were still valid while a caller waited for another.
    :ivar expired: tokens that had expired while a caller waited for another, as expected.
    :ivar waiting: the number of calls that have waited, or are waiting, for a renewal.
    """

    def __init__(self, server):
        self.server = server
        self.margin_seconds = 10.0
        self.revoked = set()
        self.accepted = []
        self.rejected = []
        self.late = []
        self.needless = []
        self.expired = []
        self.waiting = 0
        self._lock = threading.Lock()  # guards waiting

    def present(self, token, handed_out_after):
        """Call the API with a token from a call that began then; return the status."""
        status, document = self.server.call(token)
        if status == 200:
            self.accepted.append(token)
        elif token in self.revoked:
            pass
        elif time.monotonic() - handed_out_after < self.margin_seconds:
            self.rejected.append((status, document))
        else:
            self.late.append((status, document))
        return status

    def waits(self, keeper, need, answer):
        """Record that a caller of *keeper* is about to wait for a renewal."""
        if isinstance(answer, CachedToken):
            return
        with self._lock:
            self.waiting += 1
        held = _held_before.get()
        if need.force or need.refused or held is None:
            return
        # It was read before the call, so if it is valid now, it was valid then.
        alive = internals.clock(keeper).monotonic() < held.dead_at
        (self.needless if alive else self.expired).append(held.access_token)

    def assert_flawless(self):
        assert self.rejected == [], "tokens were handed out that the API rejected"
        assert self.needless == [], "callers waited while there was a valid token"


class WatchedKeeper(internals.WaitObserved, TokenKeeper):
    """A keeper that presents each token before it returns it."""

    def __init__(self, watch, **options):
        super().__init__(**options)
        self.watch = watch

    def get_token(self, provider_name, *arguments, **options):
        _held_before.set(internals.cached(self, provider_name))
        began = time.monotonic()
        token = super().get_token(provider_name, *arguments, **options)
        self.watch.present(token, began)
        return token

    def renew_refused(self, *arguments, **options):
        began = time.monotonic()
        token = super().renew_refused(*arguments, **options)
        self.watch.present(token, began)
        return token

    def before_wait(self, answer, need):
        self.watch.waits(self, need, answer)


class WatchedManager(internals.AsyncWaitObserved, OAuth2TokenManager):
    """A manager that presents each token before it returns it."""

    async def get_token(self, provider_name, *arguments, **options):
        _held_before.set(internals.cached(self.keeper, provider_name))
        began = time.monotonic()
        token = await super().get_token(provider_name, *arguments, **options)
        await anyio.to_thread.run_sync(self.keeper.watch.present, token, began)
        return token

    async def renew_refused(self, *arguments, **options):
        began = time.monotonic()
        token = await super().renew_refused(*arguments, **options)
        await anyio.to_thread.run_sync(self.keeper.watch.present, token, began)
        return token

    def before_wait(self, answer, need):
        self.keeper.watch.waits(self.keeper, need, answer)


def work(keeper, seconds, *, threads=4, tasks=16, pause=0.02):
    """Get every token repeatedly for *seconds*, in threads and in tasks of two event loops.

    Between calls they pause, to leave the server time to run. They end early if a token was
    rejected.
    """
    names = keeper.list_providers()
    manager = WatchedManager(keeper)
    ends = time.monotonic() + seconds

    def at_work():
        return time.monotonic() < ends and not keeper.watch.rejected

    def thread():
        while at_work():
            for name in names:
                keeper.get_token(name)
            time.sleep(pause)

    async def task():
        while at_work():
            for name in names:
                await manager.get_token(name)
            await anyio.sleep(pause * tasks)

    def loop(backend):
        return tasks_at_once(backend, tasks, task)

    loops = [lambda: loop("asyncio"), lambda: loop("trio")]
    *done, by_asyncio, by_trio = at_once(*[thread] * threads, *loops, limit=seconds + GUARD_SECONDS)
    assert [*done, *by_asyncio, *by_trio] == [None] * (threads + 2 * tasks)
    keeper.watch.assert_flawless()
