"""The headers that a request needs to show a token, with a proof if the token is bound to a key."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tokenkeeper._support.arguments import check_name
from tokenkeeper._support.authorization import HEADER, SCHEME, BoundToken, authorize
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import InvalidConfigurationError

if TYPE_CHECKING:
    from tokenkeeper.models import OAuth2Token

__all__ = ["as_bearer", "request_headers", "shown"]


def shown(token: OAuth2Token) -> Hidden[str]:
    """Return *token* as requests show it."""
    if token.dpop_key is None:
        return Hidden(token.access_token)
    return BoundToken(token.access_token, token.dpop_key)


def as_bearer(token: OAuth2Token, provider_name: str) -> str:
    """Return *token* for a client that can only send its text.

    :raises InvalidConfigurationError: if it is bound to a key: a server refuses it without a proof,
        and would see a token that it must not accept.
    """
    if token.dpop_key is None:
        return token.access_token
    raise InvalidConfigurationError(
        f"provider {provider_name!r}: its tokens are bound to a key (DPoP), and this client can't "
        "send the proof that goes with them. Use requests, httpx, httpx2 or aiohttp, or a provider "
        "without dpop.",
        provider_name=provider_name,
        field="dpop",
    )


def request_headers(token: OAuth2Token, method: str, url: str) -> dict[str, str]:
    """Return the headers that show *token* in one request.

    :raises InvalidConfigurationError: if a proof is needed, and *method* or *url* is not a text, or
        *url* is not absolute.
    """
    if token.dpop_key is None:
        return {HEADER: f"{SCHEME} {token.access_token}"}
    check_name(method, "method")
    check_name(url, "url")
    headers: dict[str, str] = {}
    try:
        authorize(headers, shown(token), method, url)
    except ValueError as error:
        raise InvalidConfigurationError(f"url: {error}.", field="url") from None
    return headers
