"""Why a token did not come, in few enough words to count by."""

from __future__ import annotations

from http import HTTPStatus

from tokenkeeper._support.network import NETWORK_REASONS
from tokenkeeper.events import TokenDenied
from tokenkeeper.oauth.verdict import known_code

__all__ = ["reason_of"]

_STATUSES = frozenset(HTTPStatus)


def reason_of(event: TokenDenied, other: str = "other") -> str:
    """Return one of a few reasons: a known code, a network failure, a status, or *other*.

    A server may say anything, and each new word would be a new time series. So its codes count by
    the names that ``docs/reference/errors.md`` lists, and odd statuses by their hundred.
    """
    if event.error and (code := known_code(event.error)):
        return code
    if event.network_reason in NETWORK_REASONS:
        return str(event.network_reason)
    status = event.status_code
    if status is None or not 100 <= status <= 599:
        return other
    return f"http_{status}" if status in _STATUSES else f"http_{status // 100}xx"
