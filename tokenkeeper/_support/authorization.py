"""The ``Authorization`` header (RFC 6750 §2.1): the one place that formats and reads it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping

from tokenkeeper._support.hiding import Hidden

__all__ = ["carries", "header_value", "set_token", "token_in"]

HEADER = "Authorization"
SCHEME = "Bearer"


def header_value(token: Hidden[str]) -> str:
    """Return the value of the header that shows *token* to an API."""
    return f"{SCHEME} {token.text}"


def set_token(headers: MutableMapping[str, str], token: Hidden[str]) -> None:
    """Put *token* into *headers*, replacing the token that is there."""
    headers[HEADER] = header_value(token)


def carries(headers: Mapping[str, str], token: Hidden[str]) -> bool:
    """Return whether *headers* show *token*."""
    return headers.get(HEADER) == header_value(token)


def token_in(headers: Mapping[str, str]) -> Hidden[str] | None:
    """Return the bearer token in *headers*; ``None`` without one."""
    scheme, _, token = headers.get(HEADER, "").partition(" ")
    return Hidden(token) if scheme == SCHEME else None
