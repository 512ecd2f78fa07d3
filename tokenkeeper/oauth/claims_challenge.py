"""What an API demands of a token: the claims of a challenge (OpenID Connect Core §5.5).

Microsoft's APIs refuse a token that was revoked before its expiry (continuous access evaluation)
with the error ``insufficient_claims``, and put the claims, as JSON in base64, beside it.
"""

from __future__ import annotations

import base64
import binascii
import json

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.challenges import parameters_in

__all__ = ["checked_claims", "claims_in", "is_claims"]

LONGEST_CLAIMS = 4000
"""In characters, as JSON. Those that are sent have a hundred."""


def claims_in(header: str | None) -> str | None:
    """Return the claims that a ``WWW-Authenticate`` header demands, as JSON.

    :param header: the header's value; ``None`` if there is no such header.
    :returns: ``None`` if it demands none, or some that can't be read.
    """
    if not header:
        return None
    parameters = parameters_in(header)
    if parameters.get("error") != "insufficient_claims":
        return None
    encoded = parameters.get("claims", "").rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        claims = decoded.decode()
    except (binascii.Error, ValueError):
        return None
    return claims if is_claims(claims) else None


def is_claims(text: str) -> bool:
    """Return whether *text* can be the ``claims`` parameter of a request: a JSON object."""
    if not 0 < len(text) <= LONGEST_CLAIMS:
        return False
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def checked_claims(value: object) -> str | None:
    """Return *value* if it is the claims of a challenge, or ``None``.

    :raises InvalidConfigurationError: for anything else.
    """
    if value is None or (isinstance(value, str) and is_claims(value)):
        return value
    raise InvalidConfigurationError(
        "claims must be a JSON object as a string, as in the challenge after decoding",
        field="claims",
    )
