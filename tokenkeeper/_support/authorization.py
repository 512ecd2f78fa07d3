"""The ``Authorization`` header (RFC 6750 §2.1, RFC 9449 §7.1): what formats and reads it."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Protocol

from tokenkeeper._support.hiding import Hidden

__all__ = ["BoundToken", "authorize", "carries", "header_value", "set_token", "token_in"]

HEADER = "Authorization"
SCHEME = "Bearer"
PROOF_HEADER = "DPoP"
BOUND_SCHEME = "DPoP"


class Prover(Protocol):
    """A key that tokens are bound to: :class:`~tokenkeeper.oauth.dpop.DPoPKey`."""

    def proof(self, method: str, url: str, *, token: str | None = None) -> str: ...

    def note_nonce(self, url: str, nonce: str | None) -> None: ...

    def is_worth_another(self, error: Any, url: str, headers: Mapping[str, str]) -> bool: ...


class BoundToken(Hidden[str]):
    """A token that is bound to a key: a request with it needs a proof (RFC 9449 §7).

    :ivar key: the key.
    """

    __slots__ = ("key",)

    def __init__(self, text: str, key: Prover) -> None:
        super().__init__(text)
        self.key = key


def header_value(token: Hidden[str]) -> str:
    """Return the value of the header that shows *token* to an API."""
    return f"{BOUND_SCHEME if type(token) is BoundToken else SCHEME} {token.text}"


def set_token(headers: MutableMapping[str, str], token: Hidden[str]) -> None:
    """Put *token* into *headers*, replacing the token that is there."""
    headers[HEADER] = header_value(token)


def authorize(
    headers: MutableMapping[str, str], token: Hidden[str], method: str, url: object
) -> None:
    """Put *token* into the *headers* of one request, with a proof if it is bound to a key.

    :param url: the request's URL, as text or as an object that ``str`` makes it from.
    """
    if type(token) is not BoundToken:
        headers[HEADER] = f"{SCHEME} {token.text}"
    else:
        headers[HEADER] = header_value(token)
        headers[PROOF_HEADER] = token.key.proof(method, str(url), token=token.text)


def carries(headers: Mapping[str, str], token: Hidden[str]) -> bool:
    """Return whether *headers* show *token*."""
    return headers.get(HEADER) == header_value(token)


def token_in(headers: Mapping[str, str]) -> Hidden[str] | None:
    """Return the bearer token in *headers*; ``None`` without one."""
    scheme, _, token = headers.get(HEADER, "").partition(" ")
    return Hidden(token) if scheme == SCHEME else None
