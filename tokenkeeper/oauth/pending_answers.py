"""What the answers to polls mean while a person has not approved yet (RFC 8628 §3.5, CIBA §11).

Pure decisions: no I/O, no clock. :mod:`~tokenkeeper.oauth.verdict` has read what the server sent,
in all its spellings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tokenkeeper.exceptions import OAuth2Error, TokenAcquisitionError, authorization_required
from tokenkeeper.oauth.error_codes import known_code
from tokenkeeper.oauth.time_values import as_duration

__all__ = [
    "BEGIN_AGAIN",
    "DEFAULT_INTERVAL_SECONDS",
    "SHORTEST_INTERVAL_SECONDS",
    "SLOW_DOWN_SECONDS",
    "Interval",
    "final_error",
    "interval_in",
    "next_interval",
]

DEFAULT_INTERVAL_SECONDS = 5.0
"""The interval between polls if the server states none (RFC 8628 §3.2, CIBA §7.3)."""

SHORTEST_INTERVAL_SECONDS = 1.0
"""The least interval, whatever the server or a custom grant states."""

SLOW_DOWN_SECONDS = 5.0
"""How much longer the interval is after each ``slow_down`` (RFC 8628 §3.5)."""

LONGEST_BACKOFF_SECONDS = 60.0
"""The longest wait after a poll that failed, unless the server asks for a longer one."""

_TOO_FAST = ("slow_down", "too_many_requests")
_OVER = ("access_denied", "expired_token", "invalid_grant")
"""These end a sign-in whatever else the response says: the person, or the time, has decided."""

_AFTER_THE_REQUEST = ("timeout", "connection_broken", "bad_answer")
"""The connection was lost when the server may have had the request, and granted the token."""

BEGIN_AGAIN = "Begin again with authorize()."
"""What to do after each of these."""

_USED_UP = ("invalid_grant", "invalid_request")
"""What servers say of a code that was redeemed, which some no longer know then."""

_LOST = (
    "An earlier poll got no answer: if that answer was the token, it is lost, because the code "
    "works once."
)


def interval_in(value: object) -> float:
    """Return the interval that a response states as *value*, in seconds."""
    interval = as_duration(value)
    if interval is None or interval < 0 or math.isinf(interval):
        return DEFAULT_INTERVAL_SECONDS
    return max(interval, SHORTEST_INTERVAL_SECONDS)


def next_interval(error: TokenAcquisitionError, interval: float) -> float | None:
    """Return the interval from now on if *error* means "not yet"; ``None`` for any other error.

    :param interval: the interval so far, in seconds.
    """
    code = known_code(error.error or "")
    if code == "authorization_pending":
        return interval
    if code in _TOO_FAST or (code is None and error.status_code == 429):
        return interval + SLOW_DOWN_SECONDS
    return None


@dataclass(frozen=True, slots=True)
class Interval:
    """How often a server is polled. Immutable.

    :ivar seconds: the interval that the server asks for.
    :ivar failures: how many polls in a row failed without saying that it is too early.
    :ivar lost_answer: whether a poll got no answer, which may have been the token.
    :ivar retry_after: how long the last answer asked to wait; 0 if it did not.
    """

    seconds: float
    failures: int = 0
    lost_answer: bool = False
    retry_after: float = 0.0

    @property
    def wait_seconds(self) -> float:
        """How long to wait for the next poll: doubled with each failure (RFC 8628 §3.5)."""
        longest = max(self.seconds, LONGEST_BACKOFF_SECONDS)
        own = min(self.seconds * 2.0 ** min(self.failures, 16), longest)
        return max(own, self.retry_after)

    def after(self, error: TokenAcquisitionError, asked: float | None) -> Interval | None:
        """Return the interval after a poll that failed with *error*; ``None`` if it was the last.

        :param asked: the next interval if *error* means "not yet"; ``None`` if it does not.
        """
        wait = error.retry_after or 0.0
        if asked is not None:
            return Interval(max(SHORTEST_INTERVAL_SECONDS, asked), 0, self.lost_answer, wait)
        if not error.transient or known_code(error.error or "") in _OVER:
            return None
        is_lost = self.lost_answer or error.network_reason in _AFTER_THE_REQUEST
        return Interval(self.seconds, self.failures + 1, is_lost, wait)


def final_error(error: TokenAcquisitionError, interval: Interval) -> OAuth2Error:
    """Return the error to raise after the last poll, which failed with *error*.

    :param interval: the interval so far.
    """
    code = known_code(error.error or "")
    if interval.lost_answer and code in _USED_UP:
        return authorization_required(error, f"{_LOST} {BEGIN_AGAIN}")
    return authorization_required(error, BEGIN_AGAIN) if code in _OVER else error
