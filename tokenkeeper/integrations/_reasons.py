"""Why a token did not come, in few enough words to count by."""

from __future__ import annotations

from tokenkeeper.events import TokenDenied

__all__ = ["reason_of"]

_CODES = frozenset(
    {
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_target",  # RFC 8707 §2
        "server_error",
        "temporarily_unavailable",
    }
)
"""RFC 6749 §5.2, and what servers say beside it."""


def reason_of(event: TokenDenied, other: str = "other") -> str:
    """Return the server's code if it is a known one, else ``http_<status>``, else *other*.

    A server may say anything, and each new word would be a new time series.
    """
    if event.error in _CODES:
        return str(event.error)
    return other if event.status_code is None else f"http_{event.status_code}"
