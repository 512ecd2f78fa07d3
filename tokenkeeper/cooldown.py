"""Refusals that are remembered for a while, so that a wrong secret in a hot loop hammers nobody."""

from __future__ import annotations

import math
from functools import partial

from cachetools import TLRUCache

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenAcquisitionError, own_copy
from tokenkeeper.retry import RetryPolicy, is_transient

__all__ = ["Cooldown"]

TRANSIENT_SECONDS = 2.0
"""The longest cooldown after a failure that may pass: it must not outlive an outage by much."""


class Cooldown:
    """The last refusal of each name, until it has cooled down. Not thread-safe.

    :param seconds: how long a final refusal stands. A server that asked for more time gets it, up
        to what *policy* allows.
    """

    def __init__(self, seconds: float, policy: RetryPolicy, clock: Clock) -> None:
        self._refusals: TLRUCache[str, TokenAcquisitionError] = TLRUCache(
            maxsize=math.inf,  # there are only as many as providers
            ttu=partial(_ends_at, seconds, policy),
            timer=clock.monotonic,
        )

    def note(self, name: str, refusal: TokenAcquisitionError) -> None:
        """Remember *refusal* from now on."""
        self._refusals[name] = refusal

    def check(self, name: str) -> None:
        """Raise the refusal of *name* as the caller's own, if it has not cooled down yet."""
        refusal = self._refusals.get(name)
        if refusal is not None:
            raise own_copy(refusal)

    def forget(self, name: str) -> None:
        """Let *name* try again at once."""
        self._refusals.pop(name, None)


def _ends_at(
    seconds: float, policy: RetryPolicy, _name: str, refusal: TokenAcquisitionError, now: float
) -> float:
    if is_transient(refusal):
        seconds = min(seconds, TRANSIENT_SECONDS)
    return now + max(seconds, policy.retry_after_seconds(refusal))
