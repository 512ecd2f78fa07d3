"""A token as a keeper caches it: one immutable snapshot of token, deadlines and state.

It is published in one assignment, so a reader sees all of the old one or all of the new.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from tokenkeeper._runtime.clock_steps import CLOCK_STEP_SECONDS, ClockStep
from tokenkeeper.clock import Clock, instant
from tokenkeeper.models import OAuth2Token
from tokenkeeper.schedule import Deadlines, TokenState, state_at

__all__ = ["CachedToken", "Cell", "Snapshot"]

SPREAD_AFTER_STEP_SECONDS = 5.0
"""How far jitter spreads the renewals that a step of the clocks makes due in one instant."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What may be reported of a cached token at one moment; no secret."""

    state: TokenState
    expires_at: str
    remaining_seconds: float
    is_expired: bool
    renews_in_seconds: float


@dataclass(frozen=True, slots=True, repr=False)
class CachedToken:
    """A token and its deadlines. All times are on the keeper's monotonic clock."""

    access_token: str
    stale_at: float  # with the token first: all that a read of a fresh token looks at
    dead_at: float
    ends_at: float
    renew_at: float
    token: OAuth2Token
    sent: int  # the sequence number of the request that brought it; higher means later
    renewals: int = 0
    clock_offset: float = math.inf  # wall clock minus monotonic, as the deadlines were set
    requested_at: float = -math.inf
    generation: int = 0  # in the store; 0 if it was never there
    granted_to: str = ""  # the process of the fleet that requested it; "" for this one

    @classmethod
    def of(
        cls,
        token: OAuth2Token,
        times: Deadlines,
        sent: int,
        replaces: CachedToken | None,
        clock_offset: float,
        *,
        requested_at: float = -math.inf,
        generation: int = 0,
        granted_to: str = "",
    ) -> CachedToken:
        """Return *token*, which the request *sent* brought, as the successor of *replaces*.

        :param requested_at: when that request was sent.
        :param generation: the token's number in the store.
        :param granted_to: the process that requested it, if it was not this one.
        """
        renewals = 0 if replaces is None else replaces.renewals + 1
        return cls(
            access_token=token.access_token,
            stale_at=times.stale_at,
            dead_at=times.dead_at,
            ends_at=times.ends_at,
            renew_at=times.renew_at,
            token=token,
            sent=sent,
            clock_offset=clock_offset,
            renewals=renewals,
            requested_at=requested_at,
            generation=generation,
            granted_to=granted_to,
        )

    def published(self, generation: int) -> CachedToken:
        """Return the same token; its number in the store is *generation*."""
        return replace(self, generation=generation)

    def due_again(self, renew_at: float) -> CachedToken:
        """Return the same token; its next renewal is due at *renew_at*."""
        return replace(self, renew_at=renew_at)

    def after_refusal(self) -> CachedToken:
        """Return the same token, no longer served: an API rejected it."""
        return replace(self, stale_at=-math.inf, dead_at=-math.inf, renew_at=-math.inf)

    def after_step(self, step: ClockStep, now: float, jitter: float) -> CachedToken:
        """Return the same token after the clocks took *step*; *now* is the monotonic clock.

        Its deadlines come forward by what the wall clock ran ahead since they were set. They never
        move back.

        :param jitter: a number from 0 to 1 that spreads renewals which are due all at once.
        """
        # Nothing if the wall clock was set back; then what it gains from here on counts.
        ahead = max(0.0, step.offset - self.clock_offset, step.set_back)
        dead_at = self.dead_at - ahead
        renew_at = self.renew_at - ahead
        if renew_at <= now < self.renew_at:
            spread = SPREAD_AFTER_STEP_SECONDS
            if now < dead_at:
                spread = min(spread, (dead_at - now) / 2)
            renew_at = now + spread * jitter
        return replace(
            self,
            stale_at=self.stale_at - ahead,
            dead_at=dead_at,
            ends_at=self.ends_at - ahead,
            requested_at=self.requested_at - ahead,
            renew_at=renew_at,
            clock_offset=step.offset,
        )

    @property
    def times(self) -> Deadlines:
        """Its deadlines."""
        return Deadlines(self.renew_at, self.stale_at, self.dead_at, self.ends_at)

    def caught_up(self, clock_offset: float, now: float) -> CachedToken:
        """Return the same token after a step up to *clock_offset* that was not noticed yet."""
        if clock_offset - self.clock_offset <= CLOCK_STEP_SECONDS:
            return self
        return self.after_step(ClockStep(clock_offset), now, 0.0)

    @property
    def is_refused(self) -> bool:
        """Whether an API rejected it."""
        return self.dead_at == -math.inf

    def snapshot(self, clock: Clock) -> Snapshot:
        """Return what may be reported of the token now.

        ``expires_at`` is the token's own: no clock moves it. The rest counts a step of the clocks,
        even one that the keeper has not noticed yet.
        """
        seen = instant(clock)
        ahead = seen.offset - self.clock_offset
        now = seen.monotonic + (ahead if ahead > CLOCK_STEP_SECONDS else 0.0)
        return Snapshot(
            state=state_at(now, self.stale_at, self.dead_at),
            expires_at=self.token.expires_at.isoformat(),
            remaining_seconds=0.0 if self.is_refused else max(0.0, self.ends_at - now),
            is_expired=now >= self.stale_at,
            renews_in_seconds=max(0.0, self.renew_at - now),
        )


_NOTHING = CachedToken(
    access_token="",
    stale_at=-math.inf,
    dead_at=-math.inf,
    ends_at=-math.inf,
    renew_at=-math.inf,
    token=OAuth2Token("none", "Bearer", datetime.max.replace(tzinfo=UTC)),
    sent=0,
)


class Cell:
    """Holds what readers of one name may take without the lock, so that they look nothing up.

    :ivar cached: the token; one that expired long ago if there is none.
    """

    __slots__ = ("__weakref__", "cached")

    def __init__(self, cached: CachedToken | None) -> None:
        self.set(cached)

    def set(self, cached: CachedToken | None) -> None:
        """Publish *cached*, in one assignment."""
        self.cached: CachedToken = _NOTHING if cached is None else cached
