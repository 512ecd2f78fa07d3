"""What a caller wants, as the slow path carries it through the waits for it."""

from __future__ import annotations

import math
from typing import NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenWaitTimeoutError

__all__ = ["Need"]


class Need(NamedTuple):
    """A token of *provider_name*, with what was asked beyond that.

    :ivar asked: the keeper's count when the caller came. The count orders events that a clock
        may show at the same moment.
    :ivar deadline: until when the caller waits, on the keeper's clock.
    :ivar force: only a token granted after the caller came will do.
    :ivar refused: the token that an API refused; any other will do.
    """

    provider_name: str
    asked: int
    deadline: float = math.inf
    force: bool = False
    refused: str | None = None

    def __repr__(self) -> str:
        shown = {**self._asdict(), "refused": self.refused and "<hidden>"}
        return f"Wish({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def is_older_than(self, sent: float) -> bool:
        """Say whether a request that left at the count *sent* left after the caller came."""
        return self.asked < sent

    def is_met_by(self, cached: CachedToken, now: float) -> bool:
        """Say whether *held* will do at *now*."""
        if now >= cached.dead_at:
            return False
        if self.refuses(cached):
            return False
        return not self.force or self.is_older_than(cached.sent)

    def refuses(self, cached: CachedToken) -> bool:
        """Return whether *held* is the token that the API refused, granted again or not."""
        return cached.access_token == self.refused

    def remaining_wait(self, clock: Clock) -> float | None:
        """Return the seconds left to wait; ``None`` for as long as it takes."""
        if self.deadline == math.inf:
            return None
        return max(0.0, self.deadline - clock.monotonic())

    def out_of_time(self) -> TokenWaitTimeoutError:
        """Return the error for a caller whose timeout ended before there was a token."""
        return TokenWaitTimeoutError(
            f"provider {self.provider_name!r}: no new token within the timeout of this call. "
            "The request goes on: call again, or allow more time.",
            provider_name=self.provider_name,
            transient=True,
        )
