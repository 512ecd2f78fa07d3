"""What an access token says of itself, if it happens to be a JSON Web Token (RFC 7519)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tokenkeeper.oauth.json_object import read_json

__all__ = ["jwt_claims"]


def jwt_claims(token: str) -> Mapping[str, Any]:
    """Return the claims of *token*, or an empty mapping if it is not a signed JWT.

    The signature is not checked: the token is the API's to judge, and a forged claim could only
    have come from the server that granted the token.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    header, claims = _json_object(parts[0]), _json_object(parts[1])
    return claims if "alg" in header else {}


def _json_object(part: str) -> Mapping[str, Any]:
    padding = "=" * (-len(part) % 4)
    try:
        content = read_json(base64.b64decode(part + padding, b"-_", validate=True).decode())
    except ValueError:  # those of base64, of UTF-8 and of JSON
        return {}
    return content if isinstance(content, Mapping) else {}
