"""Reads ``token_type``, and refuses tokens of a type that can't be sent (RFC 6749 §7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.json_object import JsonObject, UnusableResponseError
from tokenkeeper.oauth.redaction import sanitize

__all__ = ["DPOP", "read_token_type"]

BEARER = "Bearer"
DPOP = "DPoP"

_WORDS = re.compile(r"[a-z0-9]+")
_NOT_BEARER = frozenset(
    {
        *("mac", "hmac", "hawk", "signature"),  # the client signs each request
        *("pop", "dpop", "possession", "proofofpossession"),  # the client proves that it has a key
        *("hok", "holder", "holderofkey", "gnap"),
        *("basic", "digest", "negotiate", "ntlm", "kerberos", "saml", "saml1", "saml2"),
        "na",  # RFC 8693 §2.2.1: N_A, for what is not an access token at all
        *("cert", "certificate", "ssh"),
    }
)
"""Words for other types. Servers have too many names for bearer tokens to list them."""


def read_token_type(content: JsonObject, expected: Expected) -> str:
    """Return the type of the granted token: ``Bearer`` for every name that means a bearer token.

    A type that is missing, empty or not a string is ``Bearer`` too: servers that do not send one
    grant bearer tokens. After a request with a proof it is ``DPoP`` (RFC 9449 §5).

    :raises UnusableResponseError: for a type that needs more than an ``Authorization: Bearer``
        header, unless ``accept_token_types`` lists it; and for a bearer token after a request with
        a proof, unless ``allow_bearer`` is set.
    """
    kinds = list(_strings(content.every("token_type")))
    if expected.with_proof and DPOP.casefold() in map(str.casefold, kinds):
        return DPOP
    accepted = {each.strip().casefold() for each in expected.accept_token_types}
    for kind in kinds:
        if kind.casefold() in accepted:
            return kind
    if expected.with_proof and not expected.allow_bearer:
        raise _downgraded(kinds, expected)
    for kind in kinds:
        if is_bearer(kind):
            own_spelling = kind.lower() == "bearer" and kind != BEARER
            return kind if own_spelling else BEARER  # one string for all tokens
    if not kinds:
        return BEARER
    shown = sanitize(kinds[-1], expected.secrets, limit=50)
    raise UnusableResponseError(
        f'has a token_type other than Bearer, "{shown}". Request a bearer token from the server, '
        f'or, if the API accepts this one in an "Authorization: Bearer" header, add "{shown}" to '
        "accept_token_types"
    )


def _downgraded(kinds: list[str], expected: Expected) -> UnusableResponseError:
    """Return the error for a token that is not bound to the key of the request's proof."""
    shown = sanitize(kinds[-1], expected.secrets, limit=50) if kinds else ""
    given = f'the token_type "{shown}"' if shown else "no token_type"
    return UnusableResponseError(
        f"has {given} although the request had a DPoP proof, so the token is not bound to the key. "
        "Have the server bind the tokens of this client, or set allow_bearer=True to accept it"
    )


def is_bearer(kind: str) -> bool:
    """Return whether *kind* means a bearer token: any name that does not mean another type."""
    words = _WORDS.findall(kind.lower())
    joined = "".join(words)
    return not _NOT_BEARER & {*words, joined, joined.removesuffix("token")}


def _strings(values: Iterable[object]) -> Iterable[str]:
    for value in values:
        if isinstance(value, list):
            yield from _strings(value)
        elif isinstance(value, str) and value.strip():
            yield value.strip()
