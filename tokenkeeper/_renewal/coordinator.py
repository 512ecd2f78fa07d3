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

from tokenkeeper._renewal.cache import Ledger, Setback
from tokenkeeper._renewal.cached_token import HeldToken
from tokenkeeper._renewal.need import Wish
from tokenkeeper._renewal.notifier import Hooks
from tokenkeeper._renewal.registry import Registry
from tokenkeeper._renewal.renewal import Renewal, callers_context
from tokenkeeper._renewal.runner import Pilot, closed_meanwhile, is_flown_here
from tokenkeeper._runtime.background import Crew
from tokenkeeper._runtime.fork import notice_fork, renew
from tokenkeeper._runtime.gevent import check_greenlets
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

__all__ = ["Renewals"]

P = ParamSpec("P")


class Renewals:
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
        check_greenlets()
        self.ledger: Ledger = Ledger(cooldown_seconds, retry, clock)
        self.held: dict[str, HeldToken] = self.ledger.held
        self.registry: Registry = Registry()
        self.crew: Crew = Crew(
            background=background,
            limit=max_workers,
            clock=clock,
            renew=_weakly(self, Renewals.renew),
            look=_weakly(self, Renewals.look_at_clocks),
        )
        self.hooks: Hooks = Hooks(hooks, self.crew.notify)
        self._pilot = Pilot(self.crew, retry=retry, clock=clock, jitter=jitter)
        self._retry = retry
        self.clock = clock
        # Without a refresher nobody else looks at the wall clock, so each reader does.
        self.now: Callable[[], float] = (
            clock.monotonic if background else self.ledger.clock_steps.monotonic
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
        self.ledger.after_fork_in_child()
        self._counter = itertools.count(start + 1)
        self.crew.assemble()
        self.ledger.follow_clocks(self._jitter)
        now = self.clock.monotonic()
        for name, held in self.held.items():
            if now < held.dead_at:
                # Children of one fork were all to renew at the same moment: draw lots again.
                spread = max(0.0, held.stale_at - held.renew_at) * self._jitter()
                self.crew.refresher.schedule(name, held.renew_at + spread)
        if not self.registry.closed:
            for provider in self.registry.providers():
                renew(provider)

    # ---- what a caller gets

    def wish(
        self,
        name: str,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
    ) -> Wish:
        """Note down what a caller wants, and when it came.

        :raises InvalidConfigurationError: for an argument of the wrong type or value.
        """
        check_flag(force, "force_refresh")
        check_timeout(timeout)
        if refused is not None:
            self.registry.check_order(name, refused)
        deadline = math.inf if timeout is None else self.clock.monotonic() + timeout
        return Wish(name, self.next_count(), deadline, force, refused)

    def next_count(self) -> int:
        """Return a number larger than all before: so wishes and requests have an order."""
        return next(self._counter)

    def ask(self, wish: Wish) -> HeldToken | Renewal:
        """Return the token that grants *wish*, or the renewal to wait for.

        :raises OAuth2Error: if there is neither.
        """
        check_greenlets()  # here too: gevent may have come by after the keeper was made
        name = wish.provider_name
        mine: Renewal | None = None
        try:
            with self._lock:
                self._follow_clocks()
                now = self.clock.monotonic()
                provider = self.registry.find(name)
                held = self.held.get(name)
                flight = self._flights.get(name)
                rejection: TokenRejectedError | None = None
                refused = held is not None and self._is_refused(wish, held)
                if held is not None and refused:
                    held, rejection = self._refuse(name, held, flight)
                granted = held is not None and self._is_granted(wish, held, now)
                if held is not None and granted:
                    # Without a refresher the first caller in the buffer renews, the others go on.
                    in_time = self.crew.background or now < held.renew_at
                    if in_time or flight is not None or wish.force:
                        return held
                elif flight is None and rejection is None and not wish.force:
                    self.ledger.cooldown.check(name)
                if flight is None and rejection is None:
                    after_refusal = refused or (held is not None and held.is_refused)
                    flight = mine = Renewal(
                        provider, held, callers_context(), after_refusal=after_refusal
                    )
                    self._take_off(mine)
                if flight is not None and not granted:
                    # A caller that has a token does not wait for retries.
                    flight.join(wish.deadline)
            if mine is not None:
                self._pilot.launch(mine, self, urgent=True)
            if refused:
                self.hooks.tell()
            if flight is None:
                raise rejection or AssertionError("neither a renewal nor an error")
        except BaseException as struck:
            if mine is not None:
                self._pilot.rescue(mine, self, struck)
            raise
        if mine is None and is_flown_here(flight):
            raise TokenAcquisitionError(
                f"provider {name!r} asked for its own token while fetching it: "
                "it must use another provider's, or none",
                provider_name=name,
                transient=False,
            )
        return flight

    def _is_granted(self, wish: Wish, held: HeldToken, now: float) -> bool:
        return wish.is_granted_by(held, now) and not self._is_refused(wish, held)

    def _is_refused(self, wish: Wish, held: HeldToken) -> bool:
        """Return whether an API refused *held*, as *wish* says or others said before."""
        if wish.refused is None:
            return False
        name, token = wish.provider_name, held.access_token
        return wish.refuses(held) or self.ledger.rejections.knows(name, token)

    def _refuse(
        self, name: str, held: HeldToken, flight: Renewal | None
    ) -> tuple[HeldToken, TokenRejectedError | None]:
        """Note that an API refused *held*; return what is held now, and the error for the caller.

        There is no error where a renewal is under way, or is to begin. Called with the lock held.
        """
        if held.is_refused or (flight is not None and flight.after_refusal):
            return held, None  # refused by a crowd: the first one counts
        held, ruling = self.ledger.refuse(name, held)
        now = utc(self.clock)
        if ruling.is_first:
            self.hooks.line_up(TokenRefused(name, now))
        if ruling.pause_begins:
            self.hooks.line_up(self._rejected(name))
        if ruling.renews or flight is not None:
            return held, None
        return held, self.ledger.rejections.error(name)

    def _rejected(self, name: str) -> TokenRejected:
        rejections = self.ledger.rejections
        pause = rejections.pause_seconds(name)
        return TokenRejected(name, utc(self.clock), rejections.tokens(name), pause)

    def would_reject(self, name: str, token: str) -> bool:
        """Return whether a refusal of *token* would cause no renewal, and get an error at once."""
        rejections = self.ledger.rejections
        with self._lock:
            held = self.held.get(name)
            return (
                held is not None
                and name not in self._flights
                and (held.access_token == token or rejections.knows(name, held.access_token))
                and rejections.is_paused(name)
            )

    def outcome(self, flight: Renewal, wish: Wish) -> HeldToken | Renewal:
        """Return what *wish* gets from *flight*, which has landed, or what to wait for next.

        :raises OAuth2Error: if it gets an error.
        """
        now = self.clock.monotonic()
        try:
            held = flight.result()
        except OAuth2Error:
            if wish.force and not wish.is_older_than(flight.began):
                return self.ask(wish)  # it failed for somebody who asked earlier
            if flight.interrupted and not self.crew.background:
                return self.ask(wish)  # another caller flew it, and was interrupted
            current = self.held.get(wish.provider_name)
            if current is None or not self._is_granted(wish, current, now):
                raise
            return current  # nobody's error while a token works
        return held if self._is_granted(wish, held, now) else self.ask(wish)

    def ask_for_all(self) -> list[tuple[Wish, HeldToken | Renewal]]:
        """Begin to renew every token held; return what to wait for."""
        with self._lock:
            self.registry.check_open()
            names = list(self.held)
        asked = []
        for name in names:
            wish = self.wish(name, force=True)
            with suppress(UnknownProviderError):  # it was removed meanwhile
                asked.append((wish, self.ask(wish)))
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
            self.hooks.line_up(ProviderRemoved(name, utc(self.clock)))
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
            self.hooks.line_up(ProviderRemoved(name, utc(self.clock)))
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
            self.crew.refresher.forget(name)
        now = utc(self.clock)
        self.hooks.line_up(*[TokenCleared(name, now) for name in names if self.ledger.forget(name)])

    def describe(self, name: str) -> TokenInfo | None:
        """Return diagnostics of the token of *name*; ``None`` if there is none."""
        with self._lock:
            self.registry.find(name)
            return cast("TokenInfo | None", self.ledger.describe(name))

    def health(self) -> Health:
        """Return whether callers can be served, of each provider and of all."""
        with self._lock:
            if self.registry.closed:
                found: dict[str, Any] = {"status": "closed", "providers": {}}
            else:
                found = self.ledger.health(self.registry.names())
        dropped = self.hooks.dropped
        return cast("Health", {**found, "dropped_events": dropped} if dropped else found)

    # ---- a flight, from take-off to landing

    def renew(self, name: str) -> None:
        """Renew the token of *name* if that is due. For the refresher; does not block."""
        with self._lock:
            held = self.held.get(name)
            if held is None or name in self._flights:
                return  # gone, or under way
            if self.clock.monotonic() < held.renew_at:
                self.crew.refresher.schedule(name, held.renew_at)
                return
            # In nobody's context: a thread may have that of whoever happened to start it.
            flight = Renewal(
                self.registry.find(name), held, Context(), after_refusal=held.is_refused
            )
            self._take_off(flight)
        try:
            self._pilot.launch(flight, self, urgent=False)
        except BaseException as struck:
            self._pilot.rescue(flight, self, struck)
            raise

    def reconsider(self, name: str) -> None:
        """Forget that *name* was refused, and renew its token if there is one. Does not block.

        For a provider that has changed. The token at hand serves until the new one is there. A
        renewal under way, which began as the provider was, serves who waits for it and nobody else.
        """
        with self._lock:
            self.registry.find(name)
            self._flights.pop(name, None)
            is_held = self.ledger.advance(name)
        if is_held and self.crew.in_background():
            self.renew(name)

    def look_at_clocks(self) -> None:
        """Bring tokens forward where the wall clock ran ahead. For the refresher."""
        with self._lock:
            self._follow_clocks()

    def _follow_clocks(self) -> None:
        """Do what :meth:`look_at_clocks` does. Called with the lock held."""
        for name, renew_at in self.ledger.follow_clocks(self._jitter).items():
            self.crew.refresher.schedule(name, renew_at)

    def renew_due(self) -> None:
        """Renew inline all that is due: the refresher's round, for hosts without threads."""
        self.look_at_clocks()
        for name in self.crew.refresher.take_due():
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

    def must_ask_again(self, flight: Renewal, held: HeldToken) -> bool:
        """Return whether *held* was refused by an API, and one more request may bring another."""
        name = flight.provider.provider_name
        with self._lock:
            if flight.asked_again or not self._brings_refused(flight, held):
                return False
            flight.asked_again = True
            return not self.ledger.rejections.insists(name)

    def _brings_refused(self, flight: Renewal, held: HeldToken) -> bool:
        name = flight.provider.provider_name
        return self.ledger.brings_refused(name, held, after_refusal=flight.after_refusal)

    def land_well(self, flight: Renewal, held: HeldToken) -> None:
        """Hold the token that *flight* brought, and hand it to who waits."""
        name = flight.provider.provider_name
        rejection: TokenRejectedError | None = None
        with self._lock:
            counts = self._touch_down(flight)
            if counts:
                held = self.ledger.up_to_date(held)
            if counts and self._brings_refused(flight, held):
                rejection = self.ledger.keep_refused(name, held)
                setback = Setback(held.renew_at, held.ends_at - self.clock.monotonic())
                denied = flight.denied(rejection, setback, self.clock)
                self.hooks.line_up(*denied, self._rejected(name))
            elif counts:
                self.ledger.keep(name, held)
                self.hooks.line_up(flight.granted(held, self.clock))
            if counts:
                self.crew.refresher.schedule(name, held.renew_at)
        if counts:
            self.crew.in_background()
        if rejection is None:
            flight.succeed(held)
        else:
            flight.fail(rejection)
        self.hooks.tell(log_here=True)

    def land_badly(self, flight: Renewal, error: OAuth2Error) -> None:
        """Note why *flight* brought no token, and tell who waits."""
        name = flight.provider.provider_name
        if flight.replaces is not None and isinstance(error, TokenAcquisitionError):
            error = as_refresh_error(error)
        with self._lock:
            if self._touch_down(flight):
                policy = flight.provider.retry or self._retry
                setback = self.ledger.fail(name, error, policy, self._jitter())
                if setback.renew_at is not None:
                    self.crew.refresher.schedule(name, setback.renew_at)
                if not flight.interrupted:
                    self.hooks.line_up(*flight.denied(error, setback, self.clock))
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
            self.held.clear()
        for flight in flights:
            flight.fail(closed_meanwhile())
        self.crew.leave(timeout)
        return providers


def _weakly(
    renewals: Renewals, method: Callable[Concatenate[Renewals, P], None]
) -> Callable[P, None]:
    # The refresher's thread must not keep alive what nobody else holds any more.
    reference = weakref.ref(renewals)

    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        alive = reference()
        if alive is not None:
            method(alive, *args, **kwargs)

    return call
