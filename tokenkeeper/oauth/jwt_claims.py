"""Reads the claims of an access token that happens to be a JSON Web Token (RFC 7519)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tokenkeeper.oauth.json_object import read_json

__all__ = ["jwt_claims"]


def jwt_claims(token: str) -> Mapping[str, Any]:
    """Return the claims of *token*, or an empty mapping if it is not a signed JWT.

    The signature is not verified: that is the API's task, and the token comes straight from the
    server that granted it.
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
    except ValueError:  # from base64, UTF-8 or JSON
        return {}
    return content if isinstance(content, Mapping) else {}
