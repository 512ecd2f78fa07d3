"""Checks where a browser may be sent with the answer to a sign-in."""

from __future__ import annotations

from typing import cast

from tokenkeeper._support.arguments import check_number
from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["checked_redirect_port", "checked_redirect_uri"]

LARGEST_PORT = 65535


def checked_redirect_uri(value: object, field: str = "redirect_uri") -> str:
    """Return *value* if it is a URL that may receive an authorization code (RFC 9700 §2.6).

    :raises InvalidConfigurationError: for one without https that is not on this machine, or with a
        fragment (RFC 6749 §3.1.2).
    """
    return checked_endpoint(value, field)


def checked_redirect_port(value: object, field: str = "redirect_port") -> int | None:
    """Return *value* if it is a port, or ``None`` for a free one.

    :raises InvalidConfigurationError: for anything else.
    """
    if value is None:
        return None
    check_number(value, field, least=1, whole=True)
    port = cast("int", value)
    if port > LARGEST_PORT:
        raise InvalidConfigurationError(
            f"{field} must be a port, {LARGEST_PORT} at most", field=field
        )
    return port
