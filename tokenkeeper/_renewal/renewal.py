"""One renewal of one token, and the events that it causes."""

from __future__ import annotations

import math
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
    TokenAdopted,
    TokenEvent,
    TokenRenewed,
)
from tokenkeeper.exceptions import AuthorizationRequiredError, OAuth2Error
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Renewal", "callers_context"]


class Renewal(Flight[CachedToken]):
    """A flight that callers of one token share, with what it takes to run it.

    :ivar replaces: the token that it renews; ``None`` for a first one.
    :ivar context: the context to run it in: that of the caller who started it, if one did.
    :ivar token_name: the name of the token.
    :ivar is_scheduled: whether it was due, and no caller started it.
    :ivar is_forced: whether only a token will do that is requested after it began.
    :ivar is_reconsidered: whether its provider has changed, so that earlier failures do not count.
    :ivar began_at: when it was created, on the keeper's monotonic clock.
    :ivar number: its sequence number: callers with a lower one asked before it began.
    :ivar after_rejection: whether an API rejected the token that it replaces.
    :ivar claims: what the API that rejected it demands of another one; ``None`` if nothing.
    :ivar attempts: the requests made so far.
    :ivar useless: what the last request brought, if it can't be served.
    :ivar store_seconds: how long it waited for operations of the store so far.
    :ivar awaits: the renewals whose tokens its provider waits for.
    :ivar has_awaited: whether its last request waited for another renewal.
    :ivar started_at: when it began to run, on the keeper's monotonic clock; ``None`` before that.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        replaces: CachedToken | None,
        context: Context,
        *,
        token_name: str | None = None,
        after_rejection: bool,
        claims: str | None = None,
        is_scheduled: bool = False,
        is_forced: bool = False,
        is_reconsidered: bool = False,
        began_at: float = math.inf,
        number: int = 0,
    ) -> None:
        super().__init__()
        self.provider = provider
        self.token_name = provider.provider_name if token_name is None else token_name
        self.replaces = replaces
        self.context = context
        self.after_rejection = after_rejection
        self.claims = claims
        self.is_scheduled = is_scheduled
        self.is_forced = is_forced
        self.is_reconsidered = is_reconsidered
        self.began_at = began_at
        self.number = number
        self.attempts = 0
        self.useless: CachedToken | None = None
        self.store_seconds = 0.0
        self.awaits: list[Renewal] = []
        self.has_awaited = False
        self.started_at: float | None = None

    def note_useless(self, token: CachedToken) -> None:
        """Note what a request brought, although it can't be served."""
        self.useless = token

    def success_event(self, token: CachedToken, clock: Clock) -> TokenEvent:
        """Return the event for *token*, which it brought."""
        remaining = token.ends_at - clock.monotonic()
        if token.granted_to:
            return TokenAdopted(
                self.provider.provider_name,
                utc(clock),
                remaining_seconds=remaining,
                age_seconds=clock.monotonic() - token.requested_at,
                generation=token.generation,
                granted_to=token.granted_to,
                attempts=self.attempts,
                store_seconds=self.store_seconds,
                token_name=self.token_name,
            )
        kind = TokenRenewed if token.renewals else TokenAcquired
        return kind(**self._figures(clock, remaining))

    def failure_events(
        self, error: OAuth2Error, outcome: FailureOutcome, clock: Clock
    ) -> list[TokenEvent]:
        """Return the events for *error*, and for what follows from it."""
        kind = AcquisitionFailed if self.replaces is None else RenewalFailed
        figures = self._figures(clock, outcome.remaining_seconds)
        events: list[TokenEvent] = [
            kind(
                **figures,
                error=getattr(error, "error", None),  # KeeperClosedError has none of these
                status_code=getattr(error, "status_code", None),
                reason=str(error),
                network_reason=getattr(error, "network_reason", None),
                needs_sign_in=isinstance(error, AuthorizationRequiredError),
            )
        ]
        name, now = figures["provider_name"], figures["occurred_at"]
        token_name = self.token_name
        if outcome.remaining_seconds > 0:
            remaining = outcome.remaining_seconds
            events.append(ServedStale(name, now, remaining, token_name=token_name))
        if outcome.cooldown_seconds > 0:
            cooldown = outcome.cooldown_seconds
            events.append(CooledDown(name, now, cooldown, token_name=token_name))
        return events

    def _figures(self, clock: Clock, remaining_seconds: float) -> dict[str, Any]:
        now = clock.monotonic()
        began = now if self.started_at is None else self.started_at  # no thread may have started it
        return {
            "provider_name": self.provider.provider_name,
            "token_name": self.token_name,
            "occurred_at": utc(clock),
            "attempts": self.attempts,
            "duration_seconds": now - began,
            "remaining_seconds": remaining_seconds,
            "store_seconds": self.store_seconds,
        }


def callers_context() -> Context:
    """Return a copy of the caller's context, for a thread that runs no event loop.

    The token request then belongs to the caller's trace, as with ``asyncio.to_thread``.
    """
    context = copy_context()
    # Unless sniffio was imported, it has noted nothing in the context.
    library = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)
    if library is not None:
        context.run(library.set, None)
    return context
