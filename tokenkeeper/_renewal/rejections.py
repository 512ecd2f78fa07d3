"""The brake on renewals that are caused by an API that rejects tokens.

An API that answers 401 to every token (a wrong audience, a clock that is off, a client that was
revoked) would otherwise cost the authorization server one request for each call. A few renewals in
a row are always allowed: when tokens are revoked, all callers are rejected at once. After those,
pauses begin and grow, and rejections within a pause cause no request.

.. code-block:: text

    rejected    t1    t2    t3    t4, and each time within 30 s    t4    t5, within a minute ...
    renewed       t2    t3    t4                                     t5
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenRejectedError
from tokenkeeper.names import provider_of

__all__ = ["Rejections", "Ruling"]

QUICK_RENEWALS = 3
"""How many renewals in a row rejections may cause without a pause."""

SHORTEST_PAUSE_SECONDS = 30.0
"""The first pause. Each further token that is rejected doubles it."""

LONGEST_PAUSE_SECONDS = 600.0
"""The longest pause, so that a fixed API is used again soon."""

SETTLED_SECONDS = 240.0
"""A token that was accepted for this long pays back one renewal, a younger one the square of its
share: an API that is called every three minutes and always rejects must not cause 20 renewals an
hour, and one that revokes tokens every five minutes may."""

REMEMBERED_TOKENS = 8
"""How many rejected tokens are remembered. Servers behind a load balancer may alternate."""


class Ruling(NamedTuple):
    """What follows from a rejection.

    :ivar renews: whether the token is to be renewed.
    :ivar keeps: whether the token is served meanwhile. It is not if the renewal may bring a better
        one. If an API rejects every token, the current one may at least work elsewhere.
    :ivar is_first: whether this is the first rejection of this token.
    :ivar pause_begins: whether this is the first rejection within this pause.
    """

    renews: bool
    keeps: bool = False
    is_first: bool = False
    pause_begins: bool = False


class _Streak(NamedTuple):
    """Tokens of one name that were rejected one after the other. Times are on the keeper's clock.

    :ivar level: renewals that rejections caused, minus those that accepted tokens paid back.
    :ivar tokens: how many were rejected in a row.
    :ivar granted_at: when the current token was granted.
    :ivar refused_at: when the current token was last rejected; ``None`` if it was not.
    :ivar paused_until: until then, rejections cause no renewal.
    :ivar announced: whether the pause was reported.
    :ivar insists: whether the server granted a rejected token again.
    :ivar digests: of the tokens that were rejected lately; the tokens themselves are not kept.
    """

    level: float = 0.0
    tokens: int = 0
    granted_at: float = -math.inf
    refused_at: float | None = None
    paused_until: float = -math.inf
    announced: bool = False
    insists: bool = False
    digests: tuple[bytes, ...] = ()


class Rejections:
    """The streaks of rejected tokens, by name. Not thread-safe: the keeper's lock guards it.

    A streak is replaced in one assignment, so that a forked child finds a whole one.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._streaks: dict[str, _Streak] = {}

    def note(self, name: str, token: str) -> Ruling:
        """Note that an API rejected *token*, the current one of *name*; return what follows."""
        now = self._clock.monotonic()
        streak = self._streaks.get(name, _Streak())
        is_first = streak.refused_at is None
        if is_first:
            streak = _with_token(streak, token, now)
        streak = streak._replace(refused_at=now)
        is_quick = _is_quick(streak.level)
        renews = is_quick or now >= streak.paused_until
        pause_begins = not (renews or streak.announced)
        if renews:
            level = streak.level + 1
            paused_until = now + _pause_seconds(level)
            streak = streak._replace(level=level, paused_until=paused_until, announced=False)
        elif pause_begins:
            streak = streak._replace(announced=True)
        self._streaks[name] = streak
        return Ruling(renews, not is_quick, is_first, pause_begins)

    def granted(self, name: str, token: str) -> None:
        """Note that *token* was granted, for whatever reason."""
        streak = self._streaks.get(name)
        if streak is not None and _digest(token) not in streak.digests:
            now = self._clock.monotonic()
            self._streaks[name] = streak._replace(granted_at=now, refused_at=None, insists=False)

    def granted_again(self, name: str) -> None:
        """Note that the server granted a rejected token again: a pause begins."""
        streak = self._streaks.get(name, _Streak())
        level = max(streak.level, float(QUICK_RENEWALS))
        now = self._clock.monotonic()
        self._streaks[name] = streak._replace(
            level=level,
            refused_at=now,
            paused_until=now + _pause_seconds(level),
            announced=True,
            insists=True,
        )

    def knows(self, name: str, token: str) -> bool:
        """Return whether *token* is one of those that were rejected lately."""
        streak = self._streaks.get(name)
        return streak is not None and _digest(token) in streak.digests

    def insists(self, name: str) -> bool:
        """Return whether the server is known to grant the rejected token again."""
        streak = self._streaks.get(name)
        return streak is not None and streak.insists

    def is_rejecting(self, name: str) -> bool:
        """Return whether an API currently rejects the tokens granted for *name*."""
        streak = self._streaks.get(name)
        if streak is None or streak.refused_at is None or _is_quick(streak.level):
            return False
        recently = streak.refused_at + SHORTEST_PAUSE_SECONDS
        return self._clock.monotonic() < max(streak.paused_until, recently)

    def is_paused(self, name: str) -> bool:
        """Return whether a rejection of the current token would cause no renewal now."""
        streak = self._streaks.get(name)
        if streak is None or _is_quick(streak.level):
            return False
        return self._clock.monotonic() < streak.paused_until

    def tokens(self, name: str) -> int:
        """Return how many tokens of *name* were rejected in a row."""
        streak = self._streaks.get(name)
        return 0 if streak is None else streak.tokens

    def pause_seconds(self, name: str) -> float:
        """Return for how many seconds rejections go on causing no renewal."""
        streak = self._streaks.get(name, _Streak())
        return max(0.0, streak.paused_until - self._clock.monotonic())

    def error(self, name: str) -> TokenRejectedError:
        """Return the error for callers whose token is rejected and not renewed."""
        pause = self.pause_seconds(name)
        if self.insists(name):
            what = (
                "the API rejected the token, and the authorization server granted the same token "
                "again. Revoke it there, or wait until it expires. If the credentials keep a "
                "cache of their own, clear it."
            )
        else:
            what = (
                f"the API rejects newly granted tokens ({self.tokens(name)} in a row). Check the "
                "token's audience and scope, this machine's clock, and whether the API trusts "
                "this authorization server."
            )
        provider_name = provider_of(name)  # the rest of the name may be personal data
        return TokenRejectedError(
            f"provider {provider_name!r}: {what} For {math.ceil(pause)} s, rejections cause no "
            "token request.",
            provider_name=provider_name,
            transient=False,
            retry_after=pause,
        )

    def forget(self, name: str) -> None:
        """Let the next rejections of *name* cause renewals at once."""
        self._streaks.pop(name, None)


def _with_token(streak: _Streak, token: str, now: float) -> _Streak:
    """Return *streak* with one more token in it, which was accepted since it was granted."""
    accepted_for = now - streak.granted_at
    if accepted_for >= LONGEST_PAUSE_SECONDS:
        streak = _Streak()
    paid_back = (min(accepted_for, LONGEST_PAUSE_SECONDS) / SETTLED_SECONDS) ** 2
    level = max(0.0, streak.level - paid_back)
    digest = _digest(token)
    others = [each for each in streak.digests if each != digest]
    digests = (*others[1 - REMEMBERED_TOKENS :], digest)
    return streak._replace(level=level, tokens=streak.tokens + 1, digests=digests)


def _is_quick(level: float) -> bool:
    """Return whether a renewal needs no pause before it."""
    return round(level) < QUICK_RENEWALS


def _pause_seconds(level: float) -> float:
    if _is_quick(level):
        return 0.0
    doublings = min(round(level) - QUICK_RENEWALS, 30)
    return min(LONGEST_PAUSE_SECONDS, SHORTEST_PAUSE_SECONDS * 2.0**doublings)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
