"""Warns if the server granted less than the requested scope (RFC 6749 §3.3)."""

from __future__ import annotations

from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.redaction import sanitize

__all__ = ["warn_if_narrowed"]

_NEVER_LISTED = frozenset({"openid", "offline_access", "profile", "email"})
"""Scopes that turn on a feature; many servers do not list them among the granted ones."""


def warn_if_narrowed(token: OAuth2Token, requested: str | None, expected: Expected) -> None:
    """Log one warning if *token* has a narrower scope than *requested*.

    The token is used anyway: an API that requires the missing part responds with 403. Renewals that
    lack the same part are not logged again. A response without a scope grants the requested one
    (§5.1), and ``/.default`` of Entra ID means a set that only the server knows.
    """
    granted = set((token.scope or "").split())
    missing = [
        each
        for each in (requested or "").split()
        if each not in granted and each not in _NEVER_LISTED and not each.endswith("/.default")
    ]
    if missing:
        names = sanitize(" ".join(missing), expected.secrets, limit=200)
        expected.warn_once(
            f"scope without {' '.join(sorted(missing))}",
            f"the server granted a narrower scope than requested. Missing: {names}. "
            "Have the server allow it for this client, or do not request it.",
        )
