"""The identifiers of token types (RFC 8693 §3), and short names for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from tokenkeeper._support.checks import checked_text
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["ACCESS_TOKEN", "JWT", "TOKEN_TYPES", "checked_token_type"]

ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a name
JWT = "urn:ietf:params:oauth:token-type:jwt"

TOKEN_TYPES: Mapping[str, str] = {
    "access_token": ACCESS_TOKEN,
    "id_token": "urn:ietf:params:oauth:token-type:id_token",
    "jwt": JWT,
    "refresh_token": "urn:ietf:params:oauth:token-type:refresh_token",
    "saml1": "urn:ietf:params:oauth:token-type:saml1",
    "saml2": "urn:ietf:params:oauth:token-type:saml2",
    # draft-ietf-oauth-identity-assertion-authz-grant, draft-ietf-oauth-transaction-tokens
    "id_jag": "urn:ietf:params:oauth:token-type:id-jag",
    "txn_token": "urn:ietf:params:oauth:token-type:txn_token",
}
"""The identifiers by their short names."""

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")


def checked_token_type(value: object, field: str) -> str:
    """Return the identifier that *value* stands for: a URI, or one of :data:`TOKEN_TYPES`.

    :raises InvalidConfigurationError: for anything else.
    """
    name = checked_text(value, field)
    if name in TOKEN_TYPES:
        return TOKEN_TYPES[name]
    if not _URI.fullmatch(name):
        names = ", ".join(map(repr, sorted(TOKEN_TYPES)))
        raise InvalidConfigurationError(f"{field} must be a URI or one of {names}", field=field)
    return name
