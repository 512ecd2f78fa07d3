"""A token as a keeper holds it: one immutable snapshot of token, deadlines and state.

It is published in one assignment, so a reader sees all of the old one or all of the new.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from tokenkeeper.clock import Clock, utc
from tokenkeeper.models import OAuth2Token
from tokenkeeper.schedule import Deadlines, state_at

__all__ = ["HeldToken"]


@dataclass(frozen=True, slots=True, repr=False)
class HeldToken:
    """What a keeper knows of one token. All times are on the keeper's monotonic clock."""

    access_token: str
    stale_at: float  # with the token first: all that a read of a fresh token looks at
    dead_at: float
    ends_at: float
    renew_at: float
    token: OAuth2Token
    sent: int  # the keeper's count when the request left; higher means later
    renewals: int = 0

    @classmethod
    def of(
        cls, token: OAuth2Token, times: Deadlines, sent: int, replaces: HeldToken | None
    ) -> HeldToken:
        """Return *token*, asked for at the count *sent*, as the successor of *replaces*."""
        renewals = 0 if replaces is None else replaces.renewals + 1
        return cls(
            access_token=token.access_token,
            stale_at=times.stale_at,
            dead_at=times.dead_at,
            ends_at=times.ends_at,
            renew_at=times.renew_at,
            token=token,
            sent=sent,
            renewals=renewals,
        )

    def due_again(self, renew_at: float) -> HeldToken:
        """Return the same token; its next renewal is due at *renew_at*."""
        return replace(self, renew_at=renew_at)

    def after_refusal(self) -> HeldToken:
        """Return the same token, dead: an API refused it."""
        return replace(self, stale_at=-math.inf, dead_at=-math.inf, renew_at=-math.inf)

    @property
    def times(self) -> Deadlines:
        """Its deadlines."""
        return Deadlines(self.renew_at, self.stale_at, self.dead_at, self.ends_at)

    @property
    def is_refused(self) -> bool:
        """Whether an API refused it."""
        return self.dead_at == -math.inf

    def describe(self, clock: Clock) -> dict[str, Any]:
        """Return what a person may know of the token, without a secret."""
        now = clock.monotonic()
        remaining = 0.0 if self.is_refused else max(0.0, self.ends_at - now)
        return {
            "state": state_at(now, self.stale_at, self.dead_at),
            "expires_at": utc(clock, self.ends_at - now).isoformat(),
            "remaining_seconds": remaining,
            "is_expired": now >= self.stale_at,
            "renews_in_seconds": max(0.0, self.renew_at - now),
            "token_type": self.token.token_type,
            "scope": self.token.scope,
            "renewals": self.renewals,
        }
