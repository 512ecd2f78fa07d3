"""How long a token lives: the shortest of what its answer says (RFC 6749 §5.1, RFC 7519 §4.1.4).

Servers state it as a duration (``expires_in``), as a moment (``expires_on``, ``expires_at``), in
spellings of their own, and in the token itself where that is a JWT. A duration counts from the
request. A moment is on the server's clock, so it is compared with the ``Date`` of the answer; our
own clock may be wrong.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.json_object import JsonObject
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.oauth.time_values import as_duration, as_timestamp, is_local_date, seconds_in

__all__ = ["LONGEST_LIFETIME_SECONDS", "ExpiredTokenError", "Now", "read_lifetime", "read_refresh"]

LONGEST_LIFETIME_SECONDS = 365 * 86400.0
"""The longest lifetime that is believed; a longer one is cut to this."""

DOUBTFUL_SECONDS = 30 * 86400.0
"""From here on a lifetime may well be one in milliseconds. It is believed, and logged."""

NEVER_SECONDS = 86400.0
"""How long a token that never expires is used before it is renewed."""

_WORD_BOUNDARY = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]+")
_EXPIRY = re.compile(
    r"(?:(?:access_?)?token_?)?(?:expires?|expiry|expiration|exp)"
    r"(?:_?(?P<how>in|after|at|on|date|time|date_?time|timestamp|ts|epoch))?"
    r"(?:_(?:in_)?(?P<unit>(?!utc|date|time)[a-z]+))?(?:_(?:utc|date|time|timestamp))?"
    r"|valid_?(?:until|to)|not_?after"
)
_REFRESH = re.compile(r"(?:refresh|renew)_?(?P<how>in|after|at|on)(?:_(?P<unit>[a-z]+))?")
_DURATIONS = ("in", "after")


class ExpiredTokenError(Exception):
    """The token had no time left when it was granted. Its text says by which member."""


@dataclass(frozen=True)
class Now:
    """The present, in seconds since the epoch, when the answer came.

    :param ours: by our clock.
    :param theirs: by the server's, if the answer has a date.
    """

    ours: float
    theirs: float | None = None

    def until(self, moment: float) -> float:
        """Return the seconds until *moment*; 0 or less if it is past by every known clock.

        The server's clock counts. One that puts the moment in the past, alone, is not believed:
        a proxy may have put a wrong date on the answer.
        """
        if self.theirs is not None and moment > self.theirs:
            return moment - self.theirs
        return moment - self.ours


class _Said(NamedTuple):
    """What one member says: the seconds left, and whether it counts them from the request."""

    name: str
    seconds: float
    is_duration: bool

    @property
    def is_over(self) -> bool:
        return self.seconds < 0.001  # next to nothing, of which a datetime may keep nothing


def read_lifetime(content: JsonObject, access_token: str, expected: Expected, now: Now) -> float:
    """Return how many seconds *access_token* lives, counted from the request.

    :raises ExpiredTokenError: if it has none left.
    """
    if expected.lifetime_seconds is not None:
        return min(expected.lifetime_seconds, LONGEST_LIFETIME_SECONDS)
    said = list(_in_answer(content, now))
    _warn_of_unreadable(content, said, expected)
    said += _in_token(access_token, now)
    alive = [each for each in said if not each.is_over]
    over = _over(said, alive, now)
    if over and not expected.never_expires:
        raise ExpiredTokenError(over.name[:40])
    if not alive:
        unsaid = NEVER_SECONDS if expected.never_expires else expected.default_lifetime
        return min(unsaid, LONGEST_LIFETIME_SECONDS)
    shortest = min(alive, key=lambda each: each.seconds)
    if shortest.seconds > DOUBTFUL_SECONDS:
        _warn_of_long_life(shortest, expected)
    return min(shortest.seconds, LONGEST_LIFETIME_SECONDS)


def read_refresh(content: JsonObject, now: Now) -> float | None:
    """Return after how many seconds the server wants the token renewed, if it says so."""
    asked = [each.seconds for each in _said_by(content, _REFRESH, now) if not each.is_over]
    return min(asked, default=None)


def _in_answer(content: JsonObject, now: Now) -> list[_Said]:
    return _said_by(content, _EXPIRY, now)


def _in_token(access_token: str, now: Now) -> list[_Said]:
    claims = jwt_claims(access_token)
    end, issued = as_timestamp(claims.get("exp")), as_timestamp(claims.get("iat"))
    if end is None:
        return []
    said = [_Said("exp of the token", now.until(end), False)]
    if issued is not None and end > issued:  # no clock but the issuer's: its life as a whole
        said.append(_Said("iat and exp of the token", end - issued, False))
    return said


def _said_by(content: JsonObject, names: re.Pattern[str], now: Now) -> list[_Said]:
    """Return what the members of *content* with one of *names* say, as far as it can be read."""
    said = []
    for name in content:
        found = names.fullmatch(_WORD_BOUNDARY.sub("_", name).strip("_").lower())
        if found is None:
            continue
        parts = found.groupdict()
        unit = seconds_in(parts["unit"]) if parts["unit"] else 1.0
        if unit is None:
            continue
        is_duration = parts["how"] in _DURATIONS or (parts["unit"] and not parts["how"])
        for value in content.every(name):
            each = (_duration if is_duration else _moment)(name, value, unit, now)
            if each is not None:
                said.append(each)
    return said


def _duration(name: str, value: Any, unit: float, now: Now) -> _Said | None:
    seconds, moment = as_duration(value), as_timestamp(value)
    if seconds is None:
        return None if moment is None else _Said(name, now.until(moment), False)
    if moment is not None and 0 < now.until(moment) <= LONGEST_LIFETIME_SECONDS < seconds:
        return _Said(name, now.until(moment), False)  # a moment in the wrong member
    return _Said(name, seconds * unit, True)


def _moment(name: str, value: Any, unit: float, now: Now) -> _Said | None:
    moment = as_timestamp(value)
    if moment is not None:
        left = now.until(moment)
        # In the past only by a guess at its zone, it says nothing.
        return None if left <= 0 and is_local_date(value) else _Said(name, left, False)
    # Some servers put a duration here. A 0 only says that there is no moment.
    seconds = as_duration(value)
    if seconds is None or not 0 < seconds < math.inf:
        return None
    return _Said(name, seconds * unit, True)


def _over(said: list[_Said], alive: list[_Said], now: Now) -> _Said | None:
    """Return what says that the token has no time left, if that is to be believed."""
    durations = [each for each in alive if each.is_duration]
    for each in said:
        if not each.is_over:
            continue
        if each.is_duration:
            believed = each.name == "expires_in" or not durations
        else:
            # Past by our clock alone, and alive for seconds that need no clock: ours is ahead.
            believed = now.theirs is not None or not durations
        if believed:
            return each
    return None


def _warn_of_unreadable(content: JsonObject, said: list[_Said], expected: Expected) -> None:
    values = [value for value in content.every("expires_in") if value not in (None, "")]
    if values and not any(each.name == "expires_in" for each in said):
        expected.warn_once(
            "unreadable lifetime",
            "the server's expires_in is not a number of seconds and was ignored. If the "
            "lifetime of its tokens is known, set lifetime_seconds",
        )


def _warn_of_long_life(said: _Said, expected: Expected) -> None:
    days = min(said.seconds / 86400, 1e6)
    expected.warn_once(
        "long lifetime",
        f"{said.name if said.name == 'expires_in' else 'the server'} says that tokens live for "
        f"{days:.0f} days. If it means milliseconds, set lifetime_seconds to the true lifetime",
    )
