"""Determines a token's lifetime: the shortest that its response states (RFC 6749 §5.1).

Servers state it as a duration (``expires_in``), as a timestamp (``expires_on``, ``expires_at``),
under their own names, and in the token itself if that is a JWT (RFC 7519 §4.1.4). A duration
counts from the request. A timestamp is on the server's clock, so it is compared with the response's
``Date`` header; our own clock may be wrong.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.json_object import JsonObject
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.oauth.time_values import as_duration, as_timestamp, is_local_date, seconds_in

__all__ = ["LONGEST_LIFETIME_SECONDS", "ExpiredTokenError", "Now", "read_lifetime", "read_refresh"]

LONGEST_LIFETIME_SECONDS = 365 * 86400.0
"""The longest lifetime that is accepted; a longer one is reduced to this."""

DOUBTFUL_SECONDS = 30 * 86400.0
"""A longer lifetime may be in milliseconds. It is accepted, with a warning in the log."""

NEVER_SECONDS = 86400.0
"""How long a token that never expires is used before it is renewed."""


class _Names(NamedTuple):
    """Names of members.

    :ivar pattern: matches them in snake case.
    :ivar hints: parts of them. Names without one of these are not compared with the pattern.
    """

    pattern: str
    hints: tuple[str, ...]


_WORD_BOUNDARY = r"(?<=[a-z0-9])(?=[A-Z])|[-. ]+"
_EXPIRY = _Names(
    r"(?:(?:access_?)?token_?)?(?:expires?|expiry|expiration|exp)"
    r"(?:_?(?P<how>in|after|at|on|date|time|date_?time|timestamp|ts|epoch))?"
    r"(?:_(?:in_)?(?P<unit>(?!utc|date|time)[a-z]+))?(?:_(?:utc|date|time|timestamp))?"
    r"|valid_?(?:until|to)|not_?after",
    ("exp", "valid", "after"),
)
_REFRESH = _Names(
    r"(?:refresh|renew)_?(?P<how>in|after|at|on)(?:_(?P<unit>[a-z]+))?", ("refresh", "renew")
)
_DURATIONS = ("in", "after")


class ExpiredTokenError(Exception):
    """The token had already expired when it was granted. The text names the member."""


class Now(NamedTuple):
    """The current time when the response arrived, in seconds since the epoch.

    :param ours: by our clock.
    :param theirs: by the server's clock, if the response has a ``Date`` header.
    """

    ours: float
    theirs: float | None = None

    def until(self, timestamp: float) -> float:
        """Return the seconds until *timestamp*; 0 or less if every known clock is past it.

        The server's clock decides, unless it is the only one that is past *timestamp*: a proxy may
        have set a wrong date.
        """
        if self.theirs is not None and timestamp > self.theirs:
            return timestamp - self.theirs
        return timestamp - self.ours


class _Candidate(NamedTuple):
    """The remaining lifetime according to one member.

    :ivar name: the name of the member.
    :ivar is_duration: whether it counts from the request; otherwise it ends at a timestamp.
    """

    name: str
    seconds: float
    is_duration: bool

    @property
    def is_expired(self) -> bool:
        return self.seconds < 0.001  # shorter lifetimes may vanish in a datetime's rounding


def read_lifetime(content: JsonObject, access_token: str, expected: Expected, now: Now) -> float:
    """Return the lifetime of *access_token* in seconds, counted from the request.

    :raises ExpiredTokenError: if it has already expired.
    """
    if expected.lifetime_seconds is not None:
        return min(expected.lifetime_seconds, LONGEST_LIFETIME_SECONDS)
    candidates = _in_members(content, _EXPIRY, now)
    _warn_of_unreadable(content, candidates, expected)
    candidates += _in_token(access_token, now)
    valid = [each for each in candidates if not each.is_expired]
    expired = _credible_expiry(candidates, valid, now)
    if expired and not expected.never_expires:
        raise ExpiredTokenError(expired.name[:40])
    if not valid:
        unstated = NEVER_SECONDS if expected.never_expires else expected.default_lifetime
        return min(unstated, LONGEST_LIFETIME_SECONDS)
    shortest = min(valid, key=lambda each: each.seconds)
    if shortest.seconds > DOUBTFUL_SECONDS:
        _warn_of_long_lifetime(shortest, expected)
    return min(shortest.seconds, LONGEST_LIFETIME_SECONDS)


def read_refresh(content: JsonObject, now: Now) -> float | None:
    """Return after how many seconds the server wants the token renewed, or ``None``."""
    candidates = _in_members(content, _REFRESH, now)
    return min((each.seconds for each in candidates if not each.is_expired), default=None)


def _in_token(access_token: str, now: Now) -> list[_Candidate]:
    claims = jwt_claims(access_token)
    expires, issued = as_timestamp(claims.get("exp")), as_timestamp(claims.get("iat"))
    if expires is None:
        return []
    candidates = [_Candidate("exp of the token", now.until(expires), False)]
    if issued is not None and expires > issued:
        # The whole lifetime by the issuer's clock alone.
        candidates.append(_Candidate("iat and exp of the token", expires - issued, False))
    return candidates


def _in_members(content: JsonObject, names: _Names, now: Now) -> list[_Candidate]:
    """Return a candidate for each readable member of *content* with one of *names*."""
    candidates = []
    for name in content:
        found = _match(name, names)
        if found is None:
            continue
        parts = found.groupdict()
        unit = seconds_in(parts["unit"]) if parts["unit"] else 1.0
        if unit is None:
            continue
        is_duration = parts["how"] in _DURATIONS or (parts["unit"] and not parts["how"])
        read = _duration if is_duration else _timestamp
        for value in content.every(name):
            candidate = read(name, value, unit, now)
            if candidate is not None:
                candidates.append(candidate)
    return candidates


def _match(name: str, names: _Names) -> re.Match[str] | None:
    lower = name.lower()
    if not any(hint in lower for hint in names.hints):
        return None
    return re.fullmatch(names.pattern, re.sub(_WORD_BOUNDARY, "_", name).strip("_").lower())


def _duration(name: str, value: Any, unit: float, now: Now) -> _Candidate | None:
    seconds, timestamp = as_duration(value), as_timestamp(value)
    if seconds is None:
        return None if timestamp is None else _Candidate(name, now.until(timestamp), False)
    if timestamp is not None and abs(now.until(timestamp)) <= LONGEST_LIFETIME_SECONDS:
        return _Candidate(name, now.until(timestamp), False)  # a timestamp in the wrong member
    return _Candidate(name, seconds * unit, True)


def _timestamp(name: str, value: Any, unit: float, now: Now) -> _Candidate | None:
    timestamp = as_timestamp(value)
    if timestamp is not None:
        left = now.until(timestamp)
        # A date without a zone that is past proves nothing: its zone is only a guess.
        return None if left <= 0 and is_local_date(value) else _Candidate(name, left, False)
    # Some servers put a duration here. A 0 only means that there is no timestamp.
    seconds = as_duration(value)
    if seconds is None or not 0 < seconds < math.inf:
        return None
    return _Candidate(name, seconds * unit, True)


def _credible_expiry(
    candidates: list[_Candidate], valid: list[_Candidate], now: Now
) -> _Candidate | None:
    """Return the first candidate that credibly says that the token has already expired."""
    valid_durations = [each for each in valid if each.is_duration]
    for each in candidates:
        if not each.is_expired:
            continue
        if each.is_duration:
            is_credible = each.name == "expires_in" or not valid_durations
        else:
            # Only our clock is past it, and a duration, which needs no clock, says that the token
            # is valid: then our clock is fast.
            is_credible = now.theirs is not None or not valid_durations
        if is_credible:
            return each
    return None


def _warn_of_unreadable(
    content: JsonObject, candidates: list[_Candidate], expected: Expected
) -> None:
    values = [value for value in content.every("expires_in") if value not in (None, "")]
    if values and not any(each.name == "expires_in" for each in candidates):
        expected.warn_once(
            "unreadable lifetime",
            "the server's expires_in is not a number of seconds and was ignored. If you know the "
            "lifetime of its tokens, set lifetime_seconds.",
        )


def _warn_of_long_lifetime(candidate: _Candidate, expected: Expected) -> None:
    days = min(candidate.seconds / 86400, 1e6)
    source = candidate.name if candidate.name == "expires_in" else "the response"
    expected.warn_once(
        "long lifetime",
        f"according to {source}, tokens are valid for {days:.0f} days. If the server means "
        "milliseconds, set lifetime_seconds to the true lifetime.",
    )
