"""Reads the answer to an authorization request from a redirect's URL (RFC 6749 §4.1.2, RFC 9207).

The URL may come from anyone, so what it says counts only after its ``state`` and ``iss`` were
compared, and then even an error is shown as the server's.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tokenkeeper.oauth.redaction import sanitize

__all__ = ["AuthorizationAnswer", "is_same_text", "read_answer"]

LONGEST_URL = 64 * 1024
"""Characters of a URL that are read. Codes have a few thousand at most."""


@dataclass(frozen=True, slots=True)
class AuthorizationAnswer:
    """What a redirect's URL says. Immutable; ``repr`` shows no secret.

    :ivar problem: why it can't be read; ``""`` if it can.
    :ivar state: its ``state``; ``""`` without one.
    :ivar issuer: its ``iss``; ``None`` without one.
    :ivar code: its authorization code; ``""`` without one.
    :ivar error: its error code; ``""`` without one.
    :ivar description: what the server says about the error.
    """

    problem: str = ""
    state: str = field(default="", repr=False)
    issuer: str | None = None
    code: str = field(default="", repr=False)
    error: str = ""
    description: str = ""

    def is_for(self, state: str) -> bool:
        """Return whether it has this ``state``."""
        return bool(state) and is_same_text(self.state, state)

    def issuer_problem(self, issuer: str | None, metadata: Mapping[str, Any] | None) -> str:
        """Return what is wrong with its ``iss``; ``""`` if nothing (RFC 9207 §2.4).

        :param issuer: the identifier of the server that was asked; ``None`` if it is unknown.
        :param metadata: the server's metadata, if it is known.
        """
        if issuer is None:
            return ""
        states_it = (metadata or {}).get("authorization_response_iss_parameter_supported") is True
        if self.issuer is None:
            return "it has no iss, although the server always sends it" if states_it else ""
        if self.issuer != issuer:
            return f"its iss is {sanitize(self.issuer, limit=100)!r}, which was not asked"
        return ""


def read_answer(callback_url: str) -> AuthorizationAnswer:
    """Return what *callback_url* says. A parameter that occurs twice makes it unreadable (§3.1)."""
    try:
        query = urlsplit(callback_url[:LONGEST_URL]).query
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return AuthorizationAnswer("it is not a valid URL")
    found = dict(pairs)
    used = [name for name, _ in pairs if name in ("code", "state", "iss", "error")]
    if len(used) != len(set(used)):
        return AuthorizationAnswer("it has a parameter twice")
    return AuthorizationAnswer(
        state=found.get("state", ""),
        issuer=found.get("iss"),
        code=found.get("code", ""),
        error=sanitize(found.get("error", ""), limit=100),
        description=sanitize(found.get("error_description", ""), limit=240),
    )


def is_same_text(one: str, other: str) -> bool:
    """Return whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(
        one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
    )
