"""Whether the server granted the whole scope that was asked for (RFC 6749 §3.3)."""

from __future__ import annotations

from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.exchange import Expected
from tokenkeeper.oauth.redaction import sanitize

__all__ = ["warn_if_narrowed"]

_NEVER_LISTED = frozenset({"openid", "offline_access", "profile", "email"})
"""Scopes that switch something on, which many servers do not list among the granted ones."""


def warn_if_narrowed(token: OAuth2Token, asked: str | None, expected: Expected) -> None:
    """Log one warning if *token* has a narrower scope than was *asked* for.

    The token is good all the same: the API that wants the missing part says 403. Renewals that
    lack the same part log nothing more. An answer that names no scope grants what was asked for
    (§5.1), and ``/.default`` of Entra ID stands for a set that only the server knows.
    """
    granted = set((token.scope or "").split())
    missing = [
        each
        for each in (asked or "").split()
        if each not in granted and each not in _NEVER_LISTED and not each.endswith("/.default")
    ]
    if missing:
        names = sanitize(" ".join(missing), expected.secrets, limit=200)
        expected.warn_once(
            f"scope without {' '.join(sorted(missing))}",
            f"the server granted a narrower scope than was asked for. Missing: {names}. "
            "Have it permitted for this client, or do not ask for it.",
        )
