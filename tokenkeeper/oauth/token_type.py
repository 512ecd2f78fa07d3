"""Whether a token is a bearer token, by what servers write in ``token_type`` (RFC 6749 §7.1)."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.members import Members, UnusableAnswer
from tokenkeeper.oauth.redaction import sanitize

__all__ = ["read_token_type"]

BEARER = "Bearer"

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
"""What a bearer token is not. Servers have many words of their own for what it is."""


def read_token_type(content: Members, expected: Expected) -> str:
    """Return the type of the token that *content* grants: ``Bearer`` for every word for one.

    A type that is left out, empty or not a string is ``Bearer``: servers that send none grant
    bearer tokens all the same.

    :raises UnusableAnswer: for a type that needs more than an ``Authorization: Bearer`` header,
        unless the request expects it.
    """
    kinds = list(_strings(content.every("token_type")))
    taken = {each.strip().casefold() for each in expected.accept_token_types}
    for kind in kinds:
        if kind.casefold() in taken:
            return kind
    for kind in kinds:
        if is_bearer(kind):
            own_spelling = kind.lower() == "bearer" and kind != BEARER
            return kind if own_spelling else BEARER  # one string for all tokens
    if not kinds:
        return BEARER
    shown = sanitize(kinds[-1], expected.secrets, limit=50)
    raise UnusableAnswer(
        f'has a token_type other than Bearer, "{shown}": ask the server for a bearer token, or, if '
        f'the API takes this one in an "Authorization: Bearer" header, list "{shown}" in '
        "accept_token_types"
    )


def is_bearer(kind: str) -> bool:
    """Return whether *kind* is a word for a bearer token: any that is not for another kind."""
    words = _WORDS.findall(kind.lower())
    joined = "".join(words)
    return not _NOT_BEARER & {*words, joined, joined.removesuffix("token")}


def _strings(values: Iterable[object]) -> Iterable[str]:
    for value in values:
        if isinstance(value, list):
            yield from _strings(value)
        elif isinstance(value, str) and value.strip():
            yield value.strip()
