"""Coordinates all renewals of a keeper: who gets which token, and who requests the next one.

This is the slow path: a caller comes here only if there is no fresh token. Decisions are made under
the one lock of :class:`~tokenkeeper._renewal.state.KeeperState`; requests, waits and log lines are
made without it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

from tokenkeeper._renewal.cache import TokenCache
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.decide import Action, decide, is_usable
from tokenkeeper._renewal.dispatcher import Dispatcher
from tokenkeeper._renewal.memberships import Memberships
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.renewal import Renewal, callers_context
from tokenkeeper._renewal.runner import Runner, closed_meanwhile
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._renewal.upkeep import Upkeep
from tokenkeeper._renewal.usage import IdleTimeouts, Usage
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.fork import renew
from tokenkeeper._runtime.gevent import check_gevent
from tokenkeeper._runtime.weak import weakly_bound
from tokenkeeper._support.arguments import check_flag, check_timeout
from tokenkeeper.clock import Clock
from tokenkeeper.events import EventHook
from tokenkeeper.exceptions import OAuth2Error, UnknownProviderError
from tokenkeeper.names import TokenParameters, is_chosen
from tokenkeeper.oauth.claims_challenge import checked_claims
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy

if TYPE_CHECKING:
    from tokenkeeper._renewal.joining import Membership

__all__ = ["Coordinator"]


class Coordinator:
    """Answers callers on the slow path, and renews what is due. Thread-safe.

    :ivar state: the providers, tokens and renewals under way.
    :ivar background: the threads.
    :ivar upkeep: what is done without a caller.
    :ivar runner: makes the requests.
    :ivar memberships: the stores that it shares tokens through.
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
        max_tokens: int,
        idle: IdleTimeouts,
    ) -> None:
        check_gevent()
        usage = Usage(max_tokens, idle, clock)
        cache = TokenCache(cooldown_seconds, retry, clock, usage=usage)
        self.background: Background = Background(
            enabled=background,
            limit=max_workers,
            clock=clock,
            renew=weakly_bound(self, Coordinator._renew),
            look=weakly_bound(self, Coordinator._look_at_clocks),
        )
        self.state: KeeperState = KeeperState(
            cache=cache, background=self.background, hooks=hooks, clock=clock
        )
        self._cache = cache
        self._clock = clock
        # Without a scheduler, no thread looks at the wall clock: each reader does.
        self.now: Callable[[], float] = (
            clock.monotonic if background else cache.clock_steps.monotonic
        )
        state, threads = self.state, self.background

        def join(store: object) -> Membership:
            from tokenkeeper._renewal.joining import join_fleet

            return join_fleet(
                state,
                threads,
                runner,
                store,
                retry=retry,
                cooldown_seconds=cooldown_seconds,
                clock=clock,
                jitter=jitter,
            )

        self.memberships: Memberships = Memberships(join)
        self.runner: Runner = Runner(
            self.background,
            retry=retry,
            clock=clock,
            jitter=jitter,
            next_number=self.state.next_number,
            memberships=self.memberships,
        )
        runner = self.runner
        self._dispatcher = Dispatcher(
            self.state, self.background, self.runner, retry=retry, clock=clock, jitter=jitter
        )
        self.upkeep: Upkeep = Upkeep(
            self.state, self.background, self._dispatcher, clock=clock, jitter=jitter
        )

    def after_fork_in_child(self) -> None:
        """Keep the tokens, start over with the rest, and plan all renewals again."""
        self.state.after_fork_in_child()
        self.memberships.after_fork_in_child()
        self.background.after_fork_in_child()
        self.upkeep.after_fork_in_child()
        if not self.state.is_closed:
            registry = self.state.registry
            for provider in (*registry.providers(), *registry.variants()):
                renew(provider)

    # ---- a caller's question, and its answer

    def need(
        self,
        name: str,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
        parameters: TokenParameters | None = None,
        claims: str | None = None,
    ) -> Need:
        """Return what a caller needs, with its place in the order of questions.

        :param parameters: what the name stands for; by default what it states.
        :param claims: what an API demands of another token than *refused*.
        :raises InvalidConfigurationError: for an argument of the wrong type or value.
        """
        check_flag(force, "force_refresh")
        check_timeout(timeout)
        if refused is not None:
            self.state.registry.check_order(name, refused)
        deadline = math.inf if timeout is None else self._clock.monotonic() + timeout
        variant = None
        if isinstance(name, str) and is_chosen(name):
            name = str(name)  # a subclass of str is slower as a key
            variant = self.state.registry.variant(name, parameters)
        number = self.state.next_number()
        return Need(name, number, deadline, force, refused, variant, checked_claims(claims))

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
            if started or need.refused is not None:
                self.state.notifier.deliver()
        except BaseException as struck:
            for renewal in started:
                self._dispatcher.settle_interrupted(renewal, struck)
            raise
        if isinstance(answer, OAuth2Error):
            raise answer
        if isinstance(answer, CachedToken):  # perhaps the first read in a forked child
            self.background.ensure_running()
        elif not started:
            self._dispatcher.join(answer)
        return answer

    def _answer(self, need: Need, started: list[Renewal]) -> CachedToken | Renewal | OAuth2Error:
        """Decide what the caller gets, and note what follows. Called with the lock held.

        :param started: receives the renewal that the caller has to start. It is in there before
            others can join it, so an exception that strikes in between leaves none behind.
        """
        state, cache, name = self.state, self._cache, need.token_name
        # 1. What there is: the tokens by the clocks as they are now, and the renewal under way.
        self.upkeep.follow_clocks()
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
            self.upkeep.note_use(name, cached)
            return cached
        if action is Action.REFUSE and refusal is not None:
            return refusal
        # 5. Join the renewal, or begin one. The use is noted first, so that max_tokens counts the
        # token even if an exception strikes in between.
        cache.usage.note(name)
        if renewal is None:
            renewal = self._renewal(need, provider, cached, rejected=rejected)
            started.append(renewal)
            state.attach(renewal)
        if not usable:  # a caller that has a token does not wait for retries
            renewal.join(need.deadline)
        state.make_room()
        return renewal

    def _renewal(
        self,
        need: Need,
        provider: BaseOAuth2Provider,
        cached: CachedToken | None,
        *,
        rejected: bool,
    ) -> Renewal:
        """Return a renewal of *cached* for a caller with *need*. Called with the lock held."""
        if need.variant is not None:
            provider = self.state.registry.keep(need.token_name, need.variant)
        after_rejection = rejected or (cached is not None and cached.is_refused)
        return Renewal(
            provider,
            cached,
            callers_context(),
            token_name=need.token_name,
            after_rejection=after_rejection,
            claims=need.claims,
            is_forced=need.force,
            began_at=self._clock.monotonic(),
            number=self.state.next_number(),
        )

    def answer_from(self, renewal: Renewal, need: Need) -> CachedToken | Renewal:
        """Return what a caller gets from *renewal*, which is settled, or what to wait for next.

        :raises OAuth2Error: if it gets an error.
        """
        now = self._clock.monotonic()
        try:
            token = renewal.result()
        except OAuth2Error:
            failed_for_others = need.force and not need.is_older_than(renewal.last_sent)
            if failed_for_others or (renewal.interrupted and not self.background.is_enabled):
                return self._ask_again(need, now)  # it failed for another caller, or on its thread
            current = self._cache.tokens.get(need.token_name)
            if current is None or not self._meets(need, current, now):
                raise
            return current  # no caller gets the error while a token is valid
        return token if self._meets(need, token, now) else self._ask_again(need, now)

    def _ask_again(self, need: Need, now: float) -> CachedToken | Renewal:
        if now >= need.deadline:
            raise need.timeout_error()
        return self.ask(need)

    def _meets(self, need: Need, cached: CachedToken, now: float) -> bool:
        return is_usable(need, cached, now, rejected=self._cache.is_rejected(need, cached))

    def ask_for_all(self) -> list[tuple[Need, CachedToken | Renewal]]:
        """Start to renew every cached token; return what to wait for."""
        with self.state.lock:
            self.state.registry.check_open()
            names = list(self._cache.tokens)
        asked = []
        for name in names:
            with suppress(UnknownProviderError):  # it was removed meanwhile, or made room
                need = self.need(name, force=True)
                asked.append((need, self.ask(need)))
        return asked

    # ---- for the scheduler, which must not keep this object alive

    def _renew(self, name: str) -> None:
        self.upkeep.renew(name)

    def _look_at_clocks(self) -> None:
        self.upkeep.look_at_clocks()

    # ---- the end

    def close(self, timeout: float) -> list[BaseOAuth2Provider]:
        """Stop all threads, fail all waiters; return the providers to close. Idempotent."""
        for membership in self.memberships.all():
            membership.one_time.end()
        providers, unsettled = self.state.close()
        for renewal in unsettled:
            renewal.fail(closed_meanwhile())
        self.background.close(timeout)
        return providers
