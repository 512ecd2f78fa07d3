"""How a renewal is flown: on a worker or by the caller, with retries, until it has landed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Protocol

from tokenkeeper._renewal.attempt import LONGEST_MOMENT_SECONDS, fetch, moment
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
)
from tokenkeeper.retry import RetryPolicy, as_oauth2_error, call_with_retries

__all__ = ["Runner", "Tower", "closed_meanwhile", "is_flown_here"]

ASK_AGAIN_SECONDS = 1.0
"""How long to wait where a server grants the refused token again. Many date their tokens in whole
seconds, and within one of them grant an equal token."""

_flown_here: ContextVar[Renewal | None] = ContextVar("tokenkeeper_flight", default=None)
"""The flight that called this code; anyio carries it over into coroutines."""


class Tower(Protocol):
    """What a pilot reports to. Thread-safe; called without a lock held."""

    def next_count(self) -> int:
        """Return a number larger than all before: so wishes and requests have an order."""
        ...

    def must_ask_again(self, flight: Renewal, cached: CachedToken) -> bool:
        """Return whether *held* was refused by an API, and one more request may bring another."""
        ...

    def complete(self, flight: Renewal, cached: CachedToken) -> None:
        """Take in the token that *flight* brought, and tell who waits for it."""
        ...

    def fail_renewal(self, flight: Renewal, error: OAuth2Error) -> None:
        """Take in why *flight* brought none, and tell who waits for it."""
        ...


class Runner:
    """Flies renewals. Thread-safe, and holds neither tokens nor who holds them.

    :param retry: what to do about failures that may pass, where a provider has no policy.
    """

    def __init__(
        self,
        background: Background,
        *,
        retry: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._background = background
        self._retry = retry
        self._clock = clock
        self._jitter = jitter

    def start(self, flight: Renewal, tower: Tower, *, urgent: bool) -> None:
        """Fly on a worker; here and now, without the background or a thread that can be had."""
        if not self._handed_over(flight, tower, urgent=urgent):
            self._fly(flight, tower, inline=True)

    def settle_interrupted(self, flight: Renewal, tower: Tower, struck: BaseException) -> None:
        """See to it that *flight* lands, though its caller was struck by a signal's exception."""
        # Handed over twice, perhaps: it is flown once. Else it was the caller's to fly.
        try:
            if self._handed_over(flight, tower, urgent=True):
                return
        except InvalidConfigurationError as refused:  # this process may begin no thread
            struck = refused
        flight.interrupted = interruption_in(struck) is not None
        tower.fail_renewal(flight, as_oauth2_error(struck, flight.provider.provider_name))

    def _handed_over(self, flight: Renewal, tower: Tower, *, urgent: bool) -> bool:
        """Give *flight* to a worker; ``False`` if there is none."""
        if not self._background.is_enabled:
            return False
        try:
            self._background.workers.submit(partial(self._fly, flight, tower), urgent=urgent)
        except RuntimeError:  # this host has no thread to give
            return False
        return True

    def _fly(self, flight: Renewal, tower: Tower, *, inline: bool = False) -> None:
        if flight.claim():
            flight.context.run(self._fly_alone, flight, tower, inline)

    def _fly_alone(self, flight: Renewal, tower: Tower, inline: bool) -> None:
        provider = flight.provider
        if self._background.leaving.is_set():
            flight.fail(closed_meanwhile())
            return
        outer = _flown_here.set(flight)
        flight.started_at = self._clock.monotonic()
        handled_before = sys.exception()
        struck: BaseException | None = None
        try:
            cached = self._fetched(flight, tower, inline=inline)
            if tower.must_ask_again(flight, cached):
                self._wait(ASK_AGAIN_SECONDS)
                cached = self._fetched(flight, tower, inline=inline)
            tower.complete(flight, cached)
        except BaseException as error:  # noqa: BLE001 - whatever it was, nobody must wait for ever
            if isinstance(error, _InterruptedError):
                struck = error.struck
            elif inline:
                struck = interruption_in(error, handled_before)
            elif not isinstance(error, Exception):
                struck = error
            flight.interrupted = struck is not None
            tower.fail_renewal(flight, as_oauth2_error(struck or error, provider.provider_name))
        finally:
            _flown_here.reset(outer)
        if struck is not None:  # the host's own affair, which it is told as it was thrown
            raise struck

    def _fetched(self, flight: Renewal, tower: Tower, *, inline: bool) -> CachedToken:
        """Return what the provider grants, asked again where that is worth it.

        A server that only says that it is too early is asked again although nobody waits yet:
        callers that come meanwhile find the request under way.
        """
        attempt = self._attempt_inline if inline else self._attempt
        give_up_at = self._clock.monotonic() + 2 * LONGEST_MOMENT_SECONDS
        while True:
            try:
                return call_with_retries(
                    partial(attempt, flight, tower),
                    flight.provider.retry or self._retry,
                    clock=self._clock,
                    closing=self._background.leaving,
                    wanted_at=flight.is_wanted_at,
                )
            except TokenAcquisitionError as error:
                wait = moment(error)
                if wait is None or self._clock.monotonic() + wait > give_up_at:
                    raise
            self._wait(wait)

    def _wait(self, seconds: float) -> None:
        if self._clock.wait(self._background.leaving, seconds):
            raise closed_meanwhile()

    def _attempt(self, flight: Renewal, tower: Tower) -> CachedToken:
        flight.began = sent = tower.next_count()
        flight.attempts += 1
        return fetch(
            flight.provider,
            flight.replaces,
            sent=sent,
            clock=self._clock,
            jitter=self._jitter,
            refused=flight.after_refusal,
        )

    def _attempt_inline(self, flight: Renewal, tower: Tower) -> CachedToken:
        handled_before = sys.exception()
        try:
            return self._attempt(flight, tower)
        except Exception as error:
            struck = interruption_in(error, handled_before)
            if struck is None:
                raise
        raise _InterruptedError(struck)


class _InterruptedError(BaseException):
    """Carries a host's exception past the retries, which would take a TimeoutError for theirs."""

    def __init__(self, struck: BaseException) -> None:
        super().__init__()
        self.struck = struck


def is_flown_here(flight: Renewal) -> bool:
    """Say whether *flight* itself called the code that asks, by way of its provider."""
    return _flown_here.get() is flight


def closed_meanwhile() -> KeeperClosedError:
    """Return what those get who waited for a token as the keeper was closed."""
    return KeeperClosedError("the keeper was closed while this token was fetched")
