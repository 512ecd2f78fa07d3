"""Remembers refusals for a while, so that a wrong secret in a hot loop causes few requests."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from cachetools import TLRUCache

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenAcquisitionError, own_copy
from tokenkeeper.retry import RetryPolicy, is_transient

__all__ = ["Cooldown"]

TRANSIENT_SECONDS = 2.0
"""The longest cooldown after a transient failure: it must not outlast an outage by much."""


class Cooldown:
    """The last refusal of each name, until it has cooled down. Not thread-safe.

    :param seconds: how long a final refusal stands. A server that asked for more time gets it, up
        to what *policy* allows.
    """

    def __init__(self, seconds: float, policy: RetryPolicy, clock: Clock) -> None:
        self._seconds_of = partial(_seconds_of, seconds, policy)
        self._refusals: TLRUCache[str, TokenAcquisitionError] = TLRUCache(
            maxsize=math.inf,  # a name that is forgotten leaves none
            ttu=partial(_ends_at, self._seconds_of),
            timer=clock.monotonic,
        )

    def note(self, name: str, refusal: TokenAcquisitionError) -> float:
        """Remember *refusal* from now on; return for how many seconds."""
        self._refusals[name] = refusal
        return self._seconds_of(refusal)

    def refusal(self, name: str) -> TokenAcquisitionError | None:
        """Return the refusal of *name* if it still stands, as an object of the caller's own."""
        refusal = self._refusals.get(name)
        return None if refusal is None else own_copy(refusal)

    def forget(self, name: str) -> None:
        """Let *name* try again at once."""
        self._refusals.pop(name, None)


def _seconds_of(seconds: float, policy: RetryPolicy, refusal: TokenAcquisitionError) -> float:
    if refusal.stands_seconds is not None:
        return refusal.stands_seconds
    asked = policy.retry_after_seconds(refusal)
    if is_transient(refusal):
        return asked or min(seconds, TRANSIENT_SECONDS)
    return max(seconds, asked)


def _ends_at(
    seconds_of: Callable[[TokenAcquisitionError], float],
    _name: str,
    refusal: TokenAcquisitionError,
    now: float,
) -> float:
    return now + seconds_of(refusal)
