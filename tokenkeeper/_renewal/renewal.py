"""One renewal: a flight to a provider, and what there is to tell when it has landed."""

from __future__ import annotations

import sys
from contextvars import Context, copy_context
from typing import Any

from tokenkeeper._renewal.cache import FailureOutcome
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.flight import Flight
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    RenewalFailed,
    ServedStale,
    TokenAcquired,
    TokenEvent,
    TokenRenewed,
)
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Renewal", "callers_context"]


class Renewal(Flight[CachedToken]):
    """A flight, with what it takes to fly it.

    :ivar attempts: requests made so far.
    :ivar took_off: when, on the keeper's monotonic clock.
    :ivar after_refusal: whether an API refused the token that it replaces.
    :ivar asked_again: whether the server was asked again because it granted a refused token.
    :ivar context: in which it is flown: that of the caller who began it, where there is one.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        replaces: CachedToken | None,
        context: Context,
        *,
        after_refusal: bool = False,
    ) -> None:
        super().__init__()
        self.context = context
        self.provider = provider
        self.replaces = replaces
        self.after_refusal = after_refusal
        self.asked_again = False
        self.attempts = 0
        self.started_at: float = 0.0

    def granted(self, cached: CachedToken, clock: Clock) -> TokenEvent:
        """Return what there is to tell of a token that came."""
        kind = TokenRenewed if cached.renewals else TokenAcquired
        return kind(**self._figures(clock, cached.ends_at - clock.monotonic()))

    def denied(self, error: OAuth2Error, setback: FailureOutcome, clock: Clock) -> list[TokenEvent]:
        """Return what there is to tell of a failure, and of what follows from it."""
        kind = AcquisitionFailed if self.replaces is None else RenewalFailed
        figures = self._figures(clock, setback.remaining_seconds)
        told: list[TokenEvent] = [
            kind(
                **figures,
                error=getattr(error, "error", None),  # a closed keeper's error knows none
                status_code=getattr(error, "status_code", None),
                reason=str(error),
                network_reason=getattr(error, "network_reason", None),
            )
        ]
        name, now = figures["provider_name"], figures["occurred_at"]
        if setback.remaining_seconds > 0:
            told.append(ServedStale(name, now, setback.remaining_seconds))
        if setback.cooldown_seconds > 0:
            told.append(CooledDown(name, now, setback.cooldown_seconds))
        return told

    def _figures(self, clock: Clock, remaining_seconds: float) -> dict[str, Any]:
        return {
            "provider_name": self.provider.provider_name,
            "occurred_at": utc(clock),
            "attempts": self.attempts,
            "duration_seconds": clock.monotonic() - self.started_at,
            "remaining_seconds": remaining_seconds,
        }


def callers_context() -> Context:
    """Return a copy of the caller's context, for a thread that runs no event loop.

    So a caller's trace has the request that it waits for, as with ``asyncio.to_thread``.
    """
    context = copy_context()
    # Where it was never imported, or is only about to be, it has noted nothing.
    library = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)
    if library is not None:
        context.run(library.set, None)
    return context
