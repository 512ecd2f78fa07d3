"""Why a token request failed, as one of a few labels for metrics."""

from __future__ import annotations

from http import HTTPStatus

from tokenkeeper._support.network import NETWORK_REASONS
from tokenkeeper.events import TokenDenied
from tokenkeeper.oauth.error_codes import known_code

__all__ = ["reason_of"]

_STATUSES = frozenset(HTTPStatus)


def reason_of(event: TokenDenied, other: str = "other") -> str:
    """Return the reason: a known error code, a network failure, an HTTP status, or *other*.

    It is ``sign_in_needed`` where no request was made, because a person has to sign in first.

    A server may send any code, and each new label would be a new time series. So codes are mapped
    to those that ``docs/reference/errors.md`` lists, and unknown statuses to their class, such as
    ``http_5xx``. Codes and statuses of a wrong type, which a custom provider's error may have, are
    ignored: a failure is counted whatever its error says.
    """
    if isinstance(event.error, str) and event.error and (code := known_code(event.error)):
        return code
    if event.needs_sign_in and not event.error:
        return "sign_in_needed"
    if event.network_reason in NETWORK_REASONS:
        return str(event.network_reason)
    status = event.status_code
    if not isinstance(status, int) or not 100 <= status <= 599:
        return other
    return f"http_{status}" if status in _STATUSES else f"http_{status // 100}xx"
