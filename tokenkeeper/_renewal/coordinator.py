"""Coordinates all renewals of a keeper: who gets which token, and who requests the next one.

This is the slow path: a caller comes here only if there is no fresh token. Decisions are made under
the one lock of :class:`~tokenkeeper._renewal.state.KeeperState`; requests, waits and log lines are
made without it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context

from tokenkeeper._renewal.cache import TokenCache
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.decide import Action, decide, is_usable
from tokenkeeper._renewal.dispatcher import Dispatcher
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.renewal import Renewal, callers_context
from tokenkeeper._renewal.runner import Runner, closed_meanwhile, is_running_here
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.fork import renew
from tokenkeeper._runtime.gevent import check_gevent
from tokenkeeper._runtime.weak import weakly_bound
from tokenkeeper._support.arguments import check_flag, check_timeout
from tokenkeeper.clock import Clock
from tokenkeeper.events import EventHook
from tokenkeeper.exceptions import (
    OAuth2Error,
    TokenAcquisitionError,
    UnknownProviderError,
)
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy

__all__ = ["Coordinator"]


class Coordinator:
    """Answers callers on the slow path, and renews what is due. Thread-safe.

    :ivar state: the providers, tokens and renewals under way.
    :ivar background: the threads.
    :ivar now: the clock that tokens are read by: the monotonic one, or one that notices steps too.
    """

    def __init__(
        self,
        *,
        background: bool,
        max_workers: int,
        cooldown_seconds: float,
        retry: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float],
        hooks: Iterable[EventHook] = (),
    ) -> None:
        check_gevent()
        cache = TokenCache(cooldown_seconds, retry, clock)
        self.background: Background = Background(
            enabled=background,
            limit=max_workers,
            clock=clock,
            renew=weakly_bound(self, Coordinator.renew),
            look=weakly_bound(self, Coordinator.look_at_clocks),
        )
        self.state: KeeperState = KeeperState(
            cache=cache, background=self.background, hooks=hooks, clock=clock
        )
        self._cache = cache
        self._clock = clock
        self._jitter = jitter
        # Without a scheduler, no thread looks at the wall clock: each reader does.
        self.now: Callable[[], float] = (
            clock.monotonic if background else cache.clock_steps.monotonic
        )
        self._next_number: Callable[[], int] = itertools.count(1).__next__
        runner = Runner(
            self.background,
            retry=retry,
            clock=clock,
            jitter=jitter,
            next_number=self._next_number,
        )
        self._dispatcher = Dispatcher(
            self.state, self.background, runner, retry=retry, clock=clock, jitter=jitter
        )

    def after_fork_in_child(self) -> None:
        """Keep the tokens, start over with the rest, and plan all renewals again."""
        self.state.after_fork_in_child()
        self.background.after_fork_in_child()
        self._cache.follow_clocks(self._jitter)
        now = self._clock.monotonic()
        for name, cached in self._cache.tokens.items():
            if now < cached.dead_at:
                # All children of a fork would renew at the same moment: draw lots again.
                spread = max(0.0, cached.stale_at - cached.renew_at) * self._jitter()
                self.background.scheduler.schedule(name, cached.renew_at + spread)
        if not self.state.is_closed:
            for provider in self.state.registry.providers():
                renew(provider)

    # ---- a caller's question, and its answer

    def need(
        self,
        name: str,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
    ) -> Need:
        """Return what a caller needs, with its place in the order of questions.

        :raises InvalidConfigurationError: for an argument of the wrong type or value.
        """
        check_flag(force, "force_refresh")
        check_timeout(timeout)
        if refused is not None:
            self.state.registry.check_order(name, refused)
        deadline = math.inf if timeout is None else self._clock.monotonic() + timeout
        return Need(name, self._next_number(), deadline, force, refused)

    def ask(self, need: Need) -> CachedToken | Renewal:
        """Return the token that meets *need*, or the renewal to wait for.

        :raises OAuth2Error: if there is neither.
        """
        check_gevent()  # again: gevent may have patched the process after the keeper was made
        started: list[Renewal] = []
        try:
            with self.state.lock:
                answer = self._answer(need, started)
            for renewal in started:
                self._dispatcher.start(renewal, urgent=True)
            if need.refused is not None:
                self.state.notifier.deliver()
        except BaseException as struck:
            for renewal in started:
                self._dispatcher.settle_interrupted(renewal, struck)
            raise
        if isinstance(answer, OAuth2Error):
            raise answer
        if isinstance(answer, Renewal) and not started and is_running_here(answer):
            raise TokenAcquisitionError(
                f"provider {need.provider_name!r} asked for its own token while requesting it. "
                "Use another provider's token there, or none.",
                provider_name=need.provider_name,
                transient=False,
            )
        return answer

    def _answer(self, need: Need, started: list[Renewal]) -> CachedToken | Renewal | OAuth2Error:
        """Decide what the caller gets, and note what follows. Called with the lock held.

        :param started: receives the renewal that the caller has to start. It is in there before
            others can join it, so an exception that strikes in between leaves none behind.
        """
        state, cache, name = self.state, self._cache, need.provider_name
        # 1. What there is: the tokens by the clocks as they are now, and the renewal under way.
        self._follow_clocks()
        now = self._clock.monotonic()
        provider = state.registry.find(name)
        cached = cache.tokens.get(name)
        renewal = state.renewals.get(name)
        # 2. What the caller reports: that an API rejected its token.
        rejected = cached is not None and cache.is_rejected(need, cached)
        refusal: OAuth2Error | None = None
        if cached is not None and rejected:
            cached, refusal = state.note_rejection(name, cached, renewal)
        # 3. Whether a refusal stands; the validity of the token comes first.
        usable = is_usable(need, cached, now, rejected=rejected)
        if renewal is None and refusal is None and not (usable or need.force):
            refusal = cache.cooldown.refusal(name)
        # 4. The decision.
        action = decide(
            need,
            cached,
            now,
            rejected=rejected,
            is_under_way=renewal is not None,
            is_refused=refusal is not None,
            renews_inline=not self.background.is_enabled,
        )
        if action is Action.SERVE and cached is not None:
            return cached
        if action is Action.REFUSE and refusal is not None:
            return refusal
        # 5. Join the renewal, which begins here if none is under way.
        if renewal is None:
            after_rejection = rejected or (cached is not None and cached.is_refused)
            renewal = Renewal(provider, cached, callers_context(), after_rejection=after_rejection)
            started.append(renewal)
            state.attach(renewal)
        if not usable:  # a caller that has a token does not wait for retries
            renewal.join(need.deadline)
        return renewal

    def answer_from(self, renewal: Renewal, need: Need) -> CachedToken | Renewal:
        """Return what a caller gets from *renewal*, which is settled, or what to wait for next.

        :raises OAuth2Error: if it gets an error.
        """
        now = self._clock.monotonic()
        try:
            token = renewal.result()
        except OAuth2Error:
            if need.force and not need.is_older_than(renewal.last_sent):
                return self.ask(need)  # it failed for a caller that asked earlier
            if renewal.interrupted and not self.background.is_enabled:
                return self.ask(need)  # it ran on another caller's thread, which was interrupted
            current = self._cache.tokens.get(need.provider_name)
            if current is None or not self._meets(need, current, now):
                raise
            return current  # no caller gets the error while a token is valid
        return token if self._meets(need, token, now) else self.ask(need)

    def _meets(self, need: Need, cached: CachedToken, now: float) -> bool:
        return is_usable(need, cached, now, rejected=self._cache.is_rejected(need, cached))

    def ask_for_all(self) -> list[tuple[Need, CachedToken | Renewal]]:
        """Start to renew every cached token; return what to wait for."""
        with self.state.lock:
            self.state.registry.check_open()
            names = list(self._cache.tokens)
        asked = []
        for name in names:
            need = self.need(name, force=True)
            with suppress(UnknownProviderError):  # it was removed meanwhile
                asked.append((need, self.ask(need)))
        return asked

    # ---- renewals that are due

    def renew(self, name: str) -> None:
        """Renew the token of *name* if that is due. For the scheduler; does not block."""
        with self.state.lock:
            cached = self._cache.tokens.get(name)
            if cached is None or name in self.state.renewals:
                return  # gone, or under way
            if self._clock.monotonic() < cached.renew_at:
                self.background.scheduler.schedule(name, cached.renew_at)
                return
            # In an empty context: the thread's own is that of the caller who happened to start it.
            provider, context = self.state.registry.find(name), Context()
            renewal = Renewal(provider, cached, context, after_rejection=cached.is_refused)
            self.state.attach(renewal)
        try:
            self._dispatcher.start(renewal, urgent=False)
        except BaseException as struck:
            self._dispatcher.settle_interrupted(renewal, struck)
            raise

    def renew_due(self) -> None:
        """Renew inline all that is due: what the scheduler does, for hosts without threads."""
        self.look_at_clocks()
        for name in self.background.scheduler.take_due():
            self.renew(name)

    def reconsider(self, name: str) -> None:
        """Forget that *name* was refused, and renew its token if there is one. Does not block.

        For a provider that has changed. The cached token serves until the new one is there. A
        renewal under way began with the old settings: it serves its waiters, and no other caller.
        """
        with self.state.lock:
            self.state.registry.find(name)
            self.state.detach(name)
            is_cached = self._cache.make_due(name)
        if is_cached and self.background.ensure_running():
            self.renew(name)

    def look_at_clocks(self) -> None:
        """Bring tokens forward where the wall clock ran ahead. For the scheduler."""
        with self.state.lock:
            self._follow_clocks()

    def _follow_clocks(self) -> None:
        """Do what :meth:`look_at_clocks` does. Called with the lock held."""
        for name, renew_at in self._cache.follow_clocks(self._jitter).items():
            self.background.scheduler.schedule(name, renew_at)

    # ---- the end

    def close(self, timeout: float) -> list[BaseOAuth2Provider]:
        """Stop the threads, fail the waiters, forget everything; return the providers to close.

        Idempotent: the second call has nothing left to do.
        """
        providers, unsettled = self.state.close()
        for renewal in unsettled:
            renewal.fail(closed_meanwhile())
        self.background.close(timeout)
        return providers
