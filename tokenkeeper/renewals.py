"""All renewals of a keeper: who fetches the next token, when, and what becomes of the answer.

This is the slow path: a caller comes here only if no fresh token is held. One lock guards the
decisions; no request, no wait and no log line is made under it.
"""

from __future__ import annotations

import itertools
import logging
import math
import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context, ContextVar
from functools import partial
from typing import Any

from tokenkeeper.clock import Clock, utc
from tokenkeeper.crew import Crew
from tokenkeeper.events import EventHook, TokenCleared, TokenRefused
from tokenkeeper.exceptions import (
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
    UnknownProviderError,
    as_refresh_error,
)
from tokenkeeper.fetch import fetch
from tokenkeeper.greenlets import check_greenlets
from tokenkeeper.held import HeldToken
from tokenkeeper.hooks import Hooks
from tokenkeeper.ledger import Ledger
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.registry import Registry
from tokenkeeper.renewal import Renewal, callers_context
from tokenkeeper.retry import (
    RetryPolicy,
    as_oauth2_error,
    call_with_retries,
    is_interruption,
)
from tokenkeeper.wish import Wish

__all__ = ["Renewals"]

_log = logging.getLogger("tokenkeeper.renewals")

_flown_here: ContextVar[Renewal | None] = ContextVar("tokenkeeper_flight", default=None)
"""The flight that called this code; anyio carries it over into coroutines."""


class Renewals:
    """The tokens held and the renewals under way. Thread-safe.

    :ivar ledger: what is known of the tokens; guarded by the lock.
    :ivar registry: the providers; guarded by the lock.
    :ivar hooks: who is told of what happens, never with the lock held.
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
        self.hooks = Hooks(hooks)
        self.ledger = Ledger(cooldown_seconds, retry, clock)
        self.held = self.ledger.held
        self.registry = Registry()
        self.background = background
        self.crew = Crew(max_workers, clock, _weak_renew(self))
        self._retry = retry
        self.clock = clock
        self._jitter = jitter
        self._make_perishables()

    def _make_perishables(self) -> None:
        """Make what no forked child can go on using: locks, and what other threads were doing."""
        self._lock = threading.Lock()  # guards all that is assigned here, and writes to the rest
        self._flights: dict[str, Renewal] = {}  # that callers may join
        self._aloft: set[Renewal] = set()  # these and the forgotten ones, which still have waiters
        self._counter = itertools.count(1)

    def after_fork_in_child(self) -> None:
        """Keep the tokens, forget what other threads of the parent were about to do."""
        start = next(self._counter)
        self._make_perishables()
        self.hooks.after_fork_in_child()
        self.ledger.after_fork_in_child()
        self._counter = itertools.count(start + 1)
        self.crew.assemble()
        now = self.clock.monotonic()
        for name, held in self.held.items():
            if now < held.dead_at:
                # Children of one fork were all to renew at the same moment: draw lots again.
                spread = max(0.0, held.stale_at - held.renew_at) * self._jitter()
                self.crew.refresher.schedule(name, held.renew_at + spread)

    # ---- what a caller gets

    def wish(
        self,
        name: str,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
    ) -> Wish:
        """Note down what a caller wants, and when it came."""
        deadline = math.inf if timeout is None else self.clock.monotonic() + timeout
        return Wish(name, next(self._counter), deadline, force, refused)

    def ask(self, wish: Wish) -> HeldToken | Renewal:
        """Return the token that grants *wish*, or the renewal to wait for.

        :raises OAuth2Error: if there is neither.
        """
        check_greenlets()  # here too: gevent may have come by after the keeper was made
        name = wish.provider_name
        now = self.clock.monotonic()
        mine: Renewal | None = None
        refused = False
        try:
            with self._lock:
                provider = self.registry.find(name)
                held = self.held.get(name)
                if held is not None and wish.refuses(held):
                    refused = not held.is_refused  # by a crowd, perhaps: the first one counts
                    if refused:
                        self.hooks.line_up(TokenRefused(name, utc(self.clock)))
                    held = self.ledger.refuse(name, held)
                flight = self._flights.get(name)
                granted = held is not None and wish.is_granted_by(held, now)
                if held is not None and granted:
                    # Without a refresher the first caller in the buffer renews, the others go on.
                    if self.background or flight is not None or wish.force or now < held.renew_at:
                        return held
                elif flight is None and not wish.force:
                    self.ledger.cooldown.check(name)
                if flight is None:
                    flight = mine = Renewal(provider, held, callers_context())
                    self._take_off(mine)
                if not granted:  # who has a token in hand does not wait for retries
                    flight.join(wish.deadline)
            if mine is not None:
                self._launch(mine, urgent=True)
            if refused:
                self.hooks.tell()
        except BaseException as struck:
            if mine is not None:
                self._rescue(mine, struck)
            raise
        if mine is None and _flown_here.get() is flight:
            raise TokenAcquisitionError(
                f"provider {name!r} asked for its own token while fetching it: "
                "it must use another provider's, or none",
                provider_name=name,
                transient=False,
            )
        return flight

    def outcome(self, flight: Renewal, wish: Wish) -> HeldToken | Renewal:
        """Return what *wish* gets from *flight*, which has landed, or what to wait for next.

        :raises OAuth2Error: if it gets an error.
        """
        now = self.clock.monotonic()
        try:
            held = flight.result()
        except OAuth2Error as error:
            if wish.force and not wish.is_older_than(flight.began):
                return self.ask(wish)  # it failed for somebody who asked earlier
            if is_interruption(error.__cause__) and not self.background:
                return self.ask(wish)  # another caller flew it, and was interrupted
            current = self.held.get(wish.provider_name)
            if current is None or not wish.is_granted_by(current, now):
                raise
            return current  # nobody's error while a token works
        return held if wish.is_granted_by(held, now) else self.ask(wish)

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

    def add(self, provider: BaseOAuth2Provider) -> bool:
        """Register *provider*; ``False`` if its name is taken."""
        with self._lock:
            return self.registry.add(provider)

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

    def describe(self, name: str) -> dict[str, Any] | None:
        """Return diagnostics of the token of *name*; ``None`` if there is none."""
        with self._lock:
            self.registry.find(name)
            return self.ledger.describe(name)

    def health(self) -> dict[str, Any]:
        """Return whether callers can be served, of each provider and of all."""
        with self._lock:
            if self.registry.closed:
                return {"status": "closed", "providers": {}}
            return self.ledger.health(self.registry.names())

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
            flight = Renewal(self.registry.find(name), held, Context())
            self._take_off(flight)
        self._launch(flight, urgent=False)

    def reconsider(self, name: str) -> None:
        """Forget that *name* was refused, and renew its token if there is one. Does not block.

        For a provider that has changed. The token at hand serves until the new one is there. A
        renewal under way, which began as the provider was, serves who waits for it and nobody else.
        """
        with self._lock:
            self.registry.find(name)
            self._flights.pop(name, None)
            is_held = self.ledger.advance(name)
        if is_held and self.in_background():
            self.renew(name)

    def renew_due(self) -> None:
        """Renew inline all that is due: the refresher's round, for hosts without threads."""
        for name in self.crew.refresher.take_due():
            self.renew(name)

    def _take_off(self, flight: Renewal) -> None:
        """Let others join. Called with the lock held."""
        self._aloft.add(flight)
        self._flights[flight.provider.provider_name] = flight

    def _rescue(self, flight: Renewal, struck: BaseException) -> None:
        """See to it that *flight* lands, though its caller was struck by a signal's exception."""
        if self.background:
            self._launch(flight, urgent=True)  # again, perhaps: it is flown once
        else:
            self._land_badly(flight, as_oauth2_error(struck, flight.provider.provider_name))

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

    def _launch(self, flight: Renewal, *, urgent: bool) -> None:
        if self.background:
            try:
                self.crew.workers.submit(partial(self._fly, flight), urgent=urgent)
            except RuntimeError:  # this host has no thread to give
                pass
            else:
                return
        self._fly(flight)

    def _fly(self, flight: Renewal) -> None:
        if flight.claim():
            flight.context.run(self._fly_alone, flight)

    def _fly_alone(self, flight: Renewal) -> None:
        provider = flight.provider
        if self.crew.leaving.is_set():
            flight.fail(_closed_meanwhile())
            return
        outer = _flown_here.set(flight)
        flight.took_off = self.clock.monotonic()
        try:
            held = call_with_retries(
                partial(self._attempt, flight),
                provider.retry or self._retry,
                clock=self.clock,
                closing=self.crew.leaving,
                wanted_at=flight.is_wanted_at,
            )
            self._land_well(flight, held)
        except BaseException as error:  # whatever it was, nobody must wait for ever
            self._land_badly(flight, as_oauth2_error(error, provider.provider_name))
            if not isinstance(error, Exception):
                raise
        finally:
            _flown_here.reset(outer)

    def _attempt(self, flight: Renewal) -> HeldToken:
        flight.began = sent = next(self._counter)
        flight.attempts += 1
        return fetch(
            flight.provider, flight.replaces, sent=sent, clock=self.clock, jitter=self._jitter
        )

    def _land_well(self, flight: Renewal, held: HeldToken) -> None:
        name = flight.provider.provider_name
        with self._lock:
            counts = self._touch_down(flight)
            if counts:
                self.ledger.keep(name, held)
                self.crew.refresher.schedule(name, held.renew_at)
                self.hooks.line_up(flight.granted(held, self.clock))
        if counts:
            self.in_background()
        flight.succeed(held)
        self.hooks.tell()

    def _land_badly(self, flight: Renewal, error: OAuth2Error) -> None:
        name = flight.provider.provider_name
        if flight.replaces is not None and isinstance(error, TokenAcquisitionError):
            error = as_refresh_error(error)
        with self._lock:
            if self._touch_down(flight):
                policy = flight.provider.retry or self._retry
                setback = self.ledger.fail(name, error, policy, self._jitter())
                if setback.renew_at is not None:
                    self.crew.refresher.schedule(name, setback.renew_at)
                if not is_interruption(error.__cause__):
                    self.hooks.line_up(*flight.denied(error, setback, self.clock))
        flight.fail(error)
        self.hooks.tell()

    def in_background(self) -> bool:
        """Say whether the background renews, and start it where it should and does not yet.

        A reader inside the buffer asks this, takes no lock for it, and goes on with its token.
        """
        if self.crew.refresher.is_running or not self.background:
            return self.background
        try:
            self.crew.refresher.start()
        except RuntimeError:
            self.background = False
            if threading.main_thread().is_alive():  # else it is only the interpreter that ends
                _log.warning("this host starts no threads: tokens are renewed inline instead")
        return self.background

    def go_inline(self, timeout: float) -> None:
        """End the threads and go on without: who still asks renews inline."""
        self.background = False
        self.crew.dismiss(timeout)

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
            flight.fail(_closed_meanwhile())
        self.crew.leave(timeout)
        return providers


def _closed_meanwhile() -> KeeperClosedError:
    return KeeperClosedError("the keeper was closed while this token was fetched")


def _weak_renew(renewals: Renewals) -> Callable[[str], None]:
    # The refresher's thread must not keep alive what nobody else holds any more.
    reference = weakref.ref(renewals)

    def renew(name: str) -> None:
        alive = reference()
        if alive is not None:
            alive.renew(name)

    return renew
