"""All renewals of a keeper: who fetches the next token, when, and what becomes of the answer.

This is the slow path: a caller comes here only if no fresh token is held. One lock guards the
decisions; no request, no wait and no log line is made under it.
"""

from __future__ import annotations

import itertools
import math
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Any, Concatenate, ParamSpec, cast

from tokenkeeper._renewal.cache import FailureOutcome, TokenCache
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.notifier import Notifier
from tokenkeeper._renewal.registry import Registry
from tokenkeeper._renewal.renewal import Renewal, callers_context
from tokenkeeper._renewal.runner import Runner, closed_meanwhile, is_flown_here
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.fork import notice_fork, renew
from tokenkeeper._runtime.gevent import check_gevent
from tokenkeeper._support.arguments import check_flag, check_timeout
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import (
    EventHook,
    ProviderRemoved,
    TokenCleared,
    TokenRefused,
    TokenRejected,
)
from tokenkeeper.exceptions import (
    OAuth2Error,
    TokenAcquisitionError,
    TokenRejectedError,
    UnknownProviderError,
    as_refresh_error,
)
from tokenkeeper.models import Health, TokenInfo
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy

__all__ = ["Coordinator"]

P = ParamSpec("P")


class Coordinator:
    """The tokens held and the renewals under way. Thread-safe.

    :ivar ledger: what is known of the tokens; guarded by the lock.
    :ivar registry: the providers; guarded by the lock.
    :ivar hooks: who is told of what happens, never with the lock held.
    :ivar now: what tokens are read by: the monotonic clock, or one that notices steps as well.
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
        self.cache: TokenCache = TokenCache(cooldown_seconds, retry, clock)
        self.cached: dict[str, CachedToken] = self.cache.cached
        self.registry: Registry = Registry()
        self.background: Background = Background(
            background=background,
            limit=max_workers,
            clock=clock,
            renew=_weakly(self, Coordinator.renew),
            look=_weakly(self, Coordinator.look_at_clocks),
        )
        self.hooks: Notifier = Notifier(hooks, self.background.notify)
        self._runner = Runner(self.background, retry=retry, clock=clock, jitter=jitter)
        self._retry = retry
        self.clock = clock
        # Without a refresher nobody else looks at the wall clock, so each reader does.
        self.now: Callable[[], float] = (
            clock.monotonic if background else self.cache.clock_steps.monotonic
        )
        self._jitter = jitter
        self._make_perishables()

    def _make_perishables(self) -> None:
        """Make what no forked child can go on using: locks, and what other threads were doing."""
        self._own_lock = threading.Lock()  # guards all assigned here, and writes to the rest
        self._flights: dict[str, Renewal] = {}  # that callers may join
        self._aloft: set[Renewal] = set()  # these and the forgotten ones, which still have waiters
        self._counter = itertools.count(1)

    @property
    def _lock(self) -> threading.Lock:
        """The lock of this process, also after a fork that Python did not see."""
        notice_fork()
        return self._own_lock

    def after_fork_in_child(self) -> None:
        """Keep the tokens, forget what other threads of the parent were about to do."""
        start = next(self._counter)
        self._make_perishables()
        self.hooks.after_fork_in_child()
        self.cache.after_fork_in_child()
        self._counter = itertools.count(start + 1)
        self.background.assemble()
        self.cache.follow_clocks(self._jitter)
        now = self.clock.monotonic()
        for name, cached in self.cached.items():
            if now < cached.dead_at:
                # Children of one fork were all to renew at the same moment: draw lots again.
                spread = max(0.0, cached.stale_at - cached.renew_at) * self._jitter()
                self.background.scheduler.schedule(name, cached.renew_at + spread)
        if not self.registry.closed:
            for provider in self.registry.providers():
                renew(provider)

    # ---- what a caller gets

    def need(
        self,
        name: str,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
    ) -> Need:
        """Note down what a caller wants, and when it came.

        :raises InvalidConfigurationError: for an argument of the wrong type or value.
        """
        check_flag(force, "force_refresh")
        check_timeout(timeout)
        if refused is not None:
            self.registry.check_order(name, refused)
        deadline = math.inf if timeout is None else self.clock.monotonic() + timeout
        return Need(name, self.next_count(), deadline, force, refused)

    def next_count(self) -> int:
        """Return a number larger than all before: so wishes and requests have an order."""
        return next(self._counter)

    def ask(self, need: Need) -> CachedToken | Renewal:
        """Return the token that grants *wish*, or the renewal to wait for.

        :raises OAuth2Error: if there is neither.
        """
        check_gevent()  # here too: gevent may have come by after the keeper was made
        name = need.provider_name
        mine: Renewal | None = None
        try:
            with self._lock:
                self._follow_clocks()
                now = self.clock.monotonic()
                provider = self.registry.find(name)
                cached = self.cached.get(name)
                flight = self._flights.get(name)
                rejection: TokenRejectedError | None = None
                refused = cached is not None and self._is_refused(need, cached)
                if cached is not None and refused:
                    cached, rejection = self._refuse(name, cached, flight)
                granted = cached is not None and self._is_granted(need, cached, now)
                if cached is not None and granted:
                    # Without a refresher the first caller in the buffer renews, the others go on.
                    in_time = self.background.is_enabled or now < cached.renew_at
                    if in_time or flight is not None or need.force:
                        return cached
                elif flight is None and rejection is None and not need.force:
                    self.cache.cooldown.check(name)
                if flight is None and rejection is None:
                    after_refusal = refused or (cached is not None and cached.is_refused)
                    flight = mine = Renewal(
                        provider, cached, callers_context(), after_refusal=after_refusal
                    )
                    self._take_off(mine)
                if flight is not None and not granted:
                    # A caller that has a token does not wait for retries.
                    flight.join(need.deadline)
            if mine is not None:
                self._runner.start(mine, self, urgent=True)
            if refused:
                self.hooks.tell()
            if flight is None:
                raise rejection or AssertionError("neither a renewal nor an error")
        except BaseException as struck:
            if mine is not None:
                self._runner.settle_interrupted(mine, self, struck)
            raise
        if mine is None and is_flown_here(flight):
            raise TokenAcquisitionError(
                f"provider {name!r} asked for its own token while fetching it: "
                "it must use another provider's, or none",
                provider_name=name,
                transient=False,
            )
        return flight

    def _is_granted(self, need: Need, cached: CachedToken, now: float) -> bool:
        return need.is_met_by(cached, now) and not self._is_refused(need, cached)

    def _is_refused(self, need: Need, cached: CachedToken) -> bool:
        """Return whether an API refused *held*, as *wish* says or others said before."""
        if need.refused is None:
            return False
        name, token = need.provider_name, cached.access_token
        return need.refuses(cached) or self.cache.rejections.knows(name, token)

    def _refuse(
        self, name: str, cached: CachedToken, flight: Renewal | None
    ) -> tuple[CachedToken, TokenRejectedError | None]:
        """Note that an API refused *held*; return what is held now, and the error for the caller.

        There is no error where a renewal is under way, or is to begin. Called with the lock held.
        """
        if cached.is_refused or (flight is not None and flight.after_refusal):
            return cached, None  # refused by a crowd: the first one counts
        cached, ruling = self.cache.refuse(name, cached)
        now = utc(self.clock)
        if ruling.is_first:
            self.hooks.enqueue(TokenRefused(name, now))
        if ruling.pause_begins:
            self.hooks.enqueue(self._rejected(name))
        if ruling.renews or flight is not None:
            return cached, None
        return cached, self.cache.rejections.error(name)

    def _rejected(self, name: str) -> TokenRejected:
        rejections = self.cache.rejections
        pause = rejections.pause_seconds(name)
        return TokenRejected(name, utc(self.clock), rejections.tokens(name), pause)

    def would_reject(self, name: str, token: str) -> bool:
        """Return whether a refusal of *token* would cause no renewal, and get an error at once."""
        rejections = self.cache.rejections
        with self._lock:
            cached = self.cached.get(name)
            return (
                cached is not None
                and name not in self._flights
                and (cached.access_token == token or rejections.knows(name, cached.access_token))
                and rejections.is_paused(name)
            )

    def outcome(self, flight: Renewal, need: Need) -> CachedToken | Renewal:
        """Return what *wish* gets from *flight*, which has landed, or what to wait for next.

        :raises OAuth2Error: if it gets an error.
        """
        now = self.clock.monotonic()
        try:
            cached = flight.result()
        except OAuth2Error:
            if need.force and not need.is_older_than(flight.began):
                return self.ask(need)  # it failed for somebody who asked earlier
            if flight.interrupted and not self.background.is_enabled:
                return self.ask(need)  # another caller flew it, and was interrupted
            current = self.cached.get(need.provider_name)
            if current is None or not self._is_granted(need, current, now):
                raise
            return current  # nobody's error while a token works
        return cached if self._is_granted(need, cached, now) else self.ask(need)

    def ask_for_all(self) -> list[tuple[Need, CachedToken | Renewal]]:
        """Begin to renew every token held; return what to wait for."""
        with self._lock:
            self.registry.check_open()
            names = list(self.cached)
        asked = []
        for name in names:
            need = self.need(name, force=True)
            with suppress(UnknownProviderError):  # it was removed meanwhile
                asked.append((need, self.ask(need)))
        return asked

    # ---- the registry

    def add(self, provider: BaseOAuth2Provider) -> None:
        """Register *provider*."""
        with self._lock:
            self.registry.add(provider)

    def find(self, name: str) -> BaseOAuth2Provider:
        """Return the provider *name*."""
        with self._lock:
            return self.registry.find(name)

    def names(self) -> list[str]:
        """Return the registered names."""
        with self._lock:
            return self.registry.names()

    def remove(self, name: str) -> BaseOAuth2Provider:
        """Forget the provider *name* and its token, and return it."""
        with self._lock:
            provider = self.registry.remove(name)
            self._forget([name])
            self.hooks.enqueue(ProviderRemoved(name, utc(self.clock)))
        self.hooks.tell()
        return provider

    def discard(self, provider: BaseOAuth2Provider) -> bool:
        """Forget *provider* and its token; ``False`` if another one has its name, or none."""
        name = provider.provider_name
        with self._lock:
            if provider not in self.registry.providers():
                return False
            self.registry.remove(name)
            self._forget([name])
            self.hooks.enqueue(ProviderRemoved(name, utc(self.clock)))
        self.hooks.tell()
        return True

    def providers(self) -> list[BaseOAuth2Provider]:
        """Return the registered providers."""
        with self._lock:
            return self.registry.providers()

    def clear(self, name: str | None) -> None:
        """Forget the token of *name*, or all. A renewal under way serves who waits for it."""
        with self._lock:
            if name is not None:
                self.registry.find(name)
            self._forget(self.registry.names() if name is None else [name])
        self.hooks.tell()

    def _forget(self, names: list[str]) -> None:
        """Forget all of *names*. Called with the lock held."""
        for name in names:
            self._flights.pop(name, None)
            self.background.scheduler.forget(name)
        now = utc(self.clock)
        self.hooks.enqueue(*[TokenCleared(name, now) for name in names if self.cache.forget(name)])

    def describe(self, name: str) -> TokenInfo | None:
        """Return diagnostics of the token of *name*; ``None`` if there is none."""
        with self._lock:
            self.registry.find(name)
            return cast("TokenInfo | None", self.cache.describe(name))

    def health(self) -> Health:
        """Return whether callers can be served, of each provider and of all."""
        with self._lock:
            if self.registry.closed:
                found: dict[str, Any] = {"status": "closed", "providers": {}}
            else:
                found = self.cache.health(self.registry.names())
        dropped = self.hooks.dropped
        return cast("Health", {**found, "dropped_events": dropped} if dropped else found)

    # ---- a flight, from take-off to landing

    def renew(self, name: str) -> None:
        """Renew the token of *name* if that is due. For the refresher; does not block."""
        with self._lock:
            cached = self.cached.get(name)
            if cached is None or name in self._flights:
                return  # gone, or under way
            if self.clock.monotonic() < cached.renew_at:
                self.background.scheduler.schedule(name, cached.renew_at)
                return
            # In nobody's context: a thread may have that of whoever happened to start it.
            flight = Renewal(
                self.registry.find(name), cached, Context(), after_refusal=cached.is_refused
            )
            self._take_off(flight)
        try:
            self._runner.start(flight, self, urgent=False)
        except BaseException as struck:
            self._runner.settle_interrupted(flight, self, struck)
            raise

    def reconsider(self, name: str) -> None:
        """Forget that *name* was refused, and renew its token if there is one. Does not block.

        For a provider that has changed. The token at hand serves until the new one is there. A
        renewal under way, which began as the provider was, serves who waits for it and nobody else.
        """
        with self._lock:
            self.registry.find(name)
            self._flights.pop(name, None)
            is_held = self.cache.advance(name)
        if is_held and self.background.ensure_running():
            self.renew(name)

    def look_at_clocks(self) -> None:
        """Bring tokens forward where the wall clock ran ahead. For the refresher."""
        with self._lock:
            self._follow_clocks()

    def _follow_clocks(self) -> None:
        """Do what :meth:`look_at_clocks` does. Called with the lock held."""
        for name, renew_at in self.cache.follow_clocks(self._jitter).items():
            self.background.scheduler.schedule(name, renew_at)

    def renew_due(self) -> None:
        """Renew inline all that is due: the refresher's round, for hosts without threads."""
        self.look_at_clocks()
        for name in self.background.scheduler.take_due():
            self.renew(name)

    def _take_off(self, flight: Renewal) -> None:
        """Let others join. Called with the lock held."""
        self._aloft.add(flight)
        self._flights[flight.provider.provider_name] = flight

    def _touch_down(self, flight: Renewal) -> bool:
        """Say whether its outcome counts: not cleared, removed or closed meanwhile.

        Called with the lock held.
        """
        self._aloft.discard(flight)
        name = flight.provider.provider_name
        counts = self._flights.get(name) is flight
        if counts:
            del self._flights[name]
        return counts

    def must_ask_again(self, flight: Renewal, cached: CachedToken) -> bool:
        """Return whether *held* was refused by an API, and one more request may bring another."""
        name = flight.provider.provider_name
        with self._lock:
            if flight.asked_again or not self._brings_refused(flight, cached):
                return False
            flight.asked_again = True
            return not self.cache.rejections.insists(name)

    def _brings_refused(self, flight: Renewal, cached: CachedToken) -> bool:
        name = flight.provider.provider_name
        return self.cache.brings_refused(name, cached, after_refusal=flight.after_refusal)

    def complete(self, flight: Renewal, cached: CachedToken) -> None:
        """Hold the token that *flight* brought, and hand it to who waits."""
        name = flight.provider.provider_name
        rejection: TokenRejectedError | None = None
        with self._lock:
            counts = self._touch_down(flight)
            if counts:
                cached = self.cache.up_to_date(cached)
            if counts and self._brings_refused(flight, cached):
                rejection = self.cache.keep_refused(name, cached)
                setback = FailureOutcome(cached.renew_at, cached.ends_at - self.clock.monotonic())
                denied = flight.denied(rejection, setback, self.clock)
                self.hooks.enqueue(*denied, self._rejected(name))
            elif counts:
                self.cache.keep(name, cached)
                self.hooks.enqueue(flight.granted(cached, self.clock))
            if counts:
                self.background.scheduler.schedule(name, cached.renew_at)
        if counts:
            self.background.ensure_running()
        if rejection is None:
            flight.succeed(cached)
        else:
            flight.fail(rejection)
        self.hooks.tell(log_here=True)

    def fail_renewal(self, flight: Renewal, error: OAuth2Error) -> None:
        """Note why *flight* brought no token, and tell who waits."""
        name = flight.provider.provider_name
        if flight.replaces is not None and isinstance(error, TokenAcquisitionError):
            error = as_refresh_error(error)
        with self._lock:
            if self._touch_down(flight):
                policy = flight.provider.retry or self._retry
                setback = self.cache.fail(name, error, policy, self._jitter())
                if setback.renew_at is not None:
                    self.background.scheduler.schedule(name, setback.renew_at)
                if not flight.interrupted:
                    self.hooks.enqueue(*flight.denied(error, setback, self.clock))
        flight.fail(error)
        self.hooks.tell(log_here=True)

    def close(self, timeout: float) -> list[BaseOAuth2Provider]:
        """Stop the threads, fail who waits, forget all; return the providers to be closed.

        Idempotent: the second call has nothing left to do.
        """
        with self._lock:
            providers = self.registry.close()
            flights = list(self._aloft)
            self._aloft.clear()
            self._flights.clear()
            self.cached.clear()
        for flight in flights:
            flight.fail(closed_meanwhile())
        self.background.leave(timeout)
        return providers


def _weakly(
    renewals: Coordinator, method: Callable[Concatenate[Coordinator, P], None]
) -> Callable[P, None]:
    # The refresher's thread must not keep alive what nobody else holds any more.
    reference = weakref.ref(renewals)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        alive = reference()
        if alive is not None:
            method(alive, *args, **kwargs)

    return call
