"""Proof Key for Code Exchange (RFC 7636): a stolen code is useless without its verifier."""

from __future__ import annotations

import base64
import hashlib
import secrets

__all__ = ["METHOD", "challenge_of", "new_state", "new_verifier"]

METHOD = "S256"
"""The only method that is used: ``plain`` protects nothing once the request was seen (§7.2)."""


def new_verifier() -> str:
    """Return a new verifier of 256 random bits (§4.1)."""
    return secrets.token_urlsafe(32)


def new_state() -> str:
    """Return a new ``state`` of 256 random bits, which no one can guess (RFC 6749 §10.10)."""
    return secrets.token_urlsafe(32)


def challenge_of(verifier: str) -> str:
    """Return the challenge for *verifier* (§4.2)."""
    digest = hashlib.sha256(verifier.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
