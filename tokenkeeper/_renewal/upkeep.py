"""The upkeep of cached tokens: renews what is due, follows the clocks, lets idle tokens lapse."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.dispatcher import Dispatcher
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._runtime.background import Background
from tokenkeeper.clock import Clock

__all__ = ["Upkeep"]


class Upkeep:
    """Does what no caller asks for. Thread-safe."""

    def __init__(
        self,
        state: KeeperState,
        background: Background,
        dispatcher: Dispatcher,
        *,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._state = state
        self._cache = state.cache
        self._background = background
        self._dispatcher = dispatcher
        self._clock = clock
        self._jitter = jitter

    def after_fork_in_child(self) -> None:
        """Plan all renewals again. No other thread runs yet."""
        self._cache.arm_all()
        self._cache.follow_clocks(self._jitter)
        now = self._clock.monotonic()
        for name, cached in self._cache.tokens.items():
            if now < cached.dead_at:
                # All children of a fork would renew at the same moment: draw lots again.
                spread = max(0.0, cached.stale_at - cached.renew_at) * self._jitter()
                self._background.scheduler.schedule(name, cached.renew_at + spread)

    def renew(self, name: str, *, is_reconsidered: bool = False) -> None:
        """Renew the token of *name* if that is due. For the scheduler; does not block.

        :param is_reconsidered: whether its provider has changed.
        """
        if self._background.do_chore(name):
            return
        with self._state.lock:
            cached = self._cache.tokens.get(name)
            if cached is None or name in self._state.renewals:
                return  # gone, or under way
            if self._clock.monotonic() < cached.renew_at:
                self._background.scheduler.schedule(name, cached.renew_at)
                return
            if not self._is_in_use(name, cached):
                self._let_lapse(name, cached)
                return
            # In an empty context: the thread's own is that of the caller who happened to start it.
            renewal = Renewal(
                self._state.registry.provider_of(name),
                cached,
                Context(),
                token_name=name,
                after_rejection=cached.is_refused,
                is_scheduled=True,
                is_reconsidered=is_reconsidered,
                began_at=self._clock.monotonic(),
                number=self._state.next_number(),
            )
            self._state.attach(renewal)
        try:
            self._dispatcher.start(renewal, urgent=False)
        except BaseException as struck:
            self._dispatcher.settle_interrupted(renewal, struck)
            raise

    def _is_in_use(self, name: str, cached: CachedToken) -> bool:
        """Return whether *cached* is to be renewed. Called with the lock held."""
        subscriptions = self._state.notifier.subscriptions
        return self._cache.must_renew(name, cached) or subscriptions.has(name)

    def note_use(self, name: str, cached: CachedToken) -> None:
        """Note that *cached* is used, and renew it if it was left to lapse.

        Called with the lock held.
        """
        if self._cache.note_use(name):
            self._background.scheduler.schedule(name, cached.renew_at)

    def _let_lapse(self, name: str, cached: CachedToken) -> None:
        """Renew *cached* no more, unless it is used again. Called with the lock held.

        It is forgotten once it has expired: that nothing uses it is not a failure.
        """
        if self._clock.monotonic() < cached.dead_at:
            self._background.scheduler.schedule(name, cached.dead_at)
        else:
            self._state.forget_tokens([name])

    def renew_due(self) -> None:
        """Renew inline all that is due: what the scheduler does, for hosts without threads."""
        self.look_at_clocks()
        for name in self._background.scheduler.take_due():
            self.renew(name)

    def reconsider(self, name: str) -> None:
        """Forget that *name* was refused, and renew its token if there is one. Does not block.

        For a provider that has changed. The cached token serves until the new one is there. A
        renewal under way began with the old settings: it serves its waiters, and no other caller.
        """
        with self._state.lock:
            self._state.registry.find(name)
            names = self._state.tokens_of(name)
            for each in names:
                self._state.detach(each)
            cached = [each for each in names if self._cache.make_due(each)]
        if cached and self._background.ensure_running():
            for each in cached:
                self.renew(each, is_reconsidered=True)

    def look_at_clocks(self) -> None:
        """Bring tokens forward where the wall clock ran ahead. For the scheduler."""
        with self._state.lock:
            self.follow_clocks()

    def follow_clocks(self) -> None:
        """Do what :meth:`look_at_clocks` does. Called with the lock held."""
        for name, renew_at in self._cache.follow_clocks(self._jitter).items():
            self._background.scheduler.schedule(name, renew_at)
