"""What a caller needs, as the slow path carries it through the waits for it."""

from __future__ import annotations

import math
from typing import NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenWaitTimeoutError
from tokenkeeper.names import provider_of
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Need", "Variant"]


class Variant(NamedTuple):
    """A provider for a token whose parameters a caller chose.

    :ivar base: the registered provider that it was made of.
    """

    base: BaseOAuth2Provider
    provider: BaseOAuth2Provider


class Need(NamedTuple):
    """The token *token_name*, and which one of that name will do.

    :ivar asked: the sequence number of the caller's question. Sequence numbers order questions and
        requests that a clock may show at the same moment.
    :ivar deadline: how long the caller waits, as a moment on the keeper's clock.
    :ivar force: whether only a token that was requested after this question will do.
    :ivar refused: the token that an API rejected; any other will do.
    :ivar variant: the provider of a token whose parameters a caller chose; ``None`` for the token
        of a registration itself.
    :ivar claims: what the API that rejected the token demands of another one, as JSON.
    """

    token_name: str
    asked: int
    deadline: float = math.inf
    force: bool = False
    refused: str | None = None
    variant: Variant | None = None
    claims: str | None = None

    def __repr__(self) -> str:
        shown = {**self._asdict(), "refused": self.refused and "<hidden>"}
        del shown["variant"]
        return f"Need({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    @property
    def provider_name(self) -> str:
        """The name of the token's provider."""
        return provider_of(self.token_name)

    def is_older_than(self, sent: float) -> bool:
        """Return whether the request with the sequence number *sent* left after this question."""
        return self.asked < sent

    def is_met_by(self, cached: CachedToken, now: float) -> bool:
        """Return whether *cached* will do at *now*."""
        if now >= cached.dead_at:
            return False
        if self.refuses(cached):
            return False
        return not self.force or self.is_older_than(cached.sent)

    def refuses(self, cached: CachedToken) -> bool:
        """Return whether *cached* is the token that the API rejected, even if granted again."""
        return cached.access_token == self.refused

    def remaining_wait(self, clock: Clock) -> float | None:
        """Return the seconds left to wait; ``None`` if there is no limit."""
        if self.deadline == math.inf:
            return None
        return max(0.0, self.deadline - clock.monotonic())

    def timeout_error(self) -> TokenWaitTimeoutError:
        """Return the error for a caller whose timeout passed before there was a token."""
        return TokenWaitTimeoutError(
            f"provider {self.provider_name!r}: no new token arrived within the timeout of this "
            "call. The request goes on: call again, or allow more time.",
            provider_name=self.provider_name,
            transient=True,
        )
