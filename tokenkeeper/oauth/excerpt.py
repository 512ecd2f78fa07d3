"""Quotes the beginning of a plain text from a server, without anything that may be a token.

Unlike :mod:`~tokenkeeper.oauth.redaction`, which hides the secrets that we know, this hides those
that we don't: a text that is not a token response may contain a new token, or another client's.
"""

from __future__ import annotations

import re

__all__ = ["excerpt"]

_SCHEMES = "bearer|basic|dpop|token"
_NAMED_VALUE = (
    r"(?i)(\w*(?:token|secret|passw|assertion|credential)\w*[\"']?\s*[=:]\s*)"
    rf"((?:(?:{_SCHEMES})\s+)?\S+)"
)
_SCHEME = rf"(?i)(\b(?:{_SCHEMES})\s+)(\S{{6,}})"
_GRANT = r"(?i)(access|refresh|id)_?token[\"']?\s*[:=]"
_LONG_WORD = r"(?=\S*\d)\S{20,}|\S{32,}"

_PROSE = frozenset(
    re.findall(
        r"\w+",
        """
        a an and are at be been by can cannot could does for from has have in is it may
        must no not of on or please should that the this too was were will with without
        you your absent bad corrupt corrupted denied disabled empty exceeded expired
        expires failed failure inactive incorrect invalid issued locked malformed
        mismatch missing needed provided received rejected required returned revoked
        supplied temporarily unavailable unexpected unknown unsupported used verified
        wrong audience auth authentication authorisation authorization binding claim
        claims credential credentials endpoint error exchange format generation grant
        grants handler header introspection issuance issuer lifetime management manager
        parameter proof provider refresh renewal request requests response responses
        revocation scheme scope scopes server servers service services signature signing
        storage store validation verification
        """,
    )
)
"""Words that follow "token", "Basic" or "secret:" in sentences.

They are listed because nothing else tells a word from a token. A text that we sent as a secret is
hidden afterwards even if it is one of them.
"""


def excerpt(text: str) -> str:
    """Return the beginning of *text* without anything that may be a token.

    Long words, values that are secrets by their names, and what follows the name of an
    authentication scheme are hidden, words of a sentence excepted: "the token endpoint" stays. The
    result is empty if *text* may be a token response that was truncated or corrupted.
    """
    if re.search(_GRANT, text):
        return ""
    text = " ".join(text[:400].split())
    if len(text.split()) < 2 and len(text) > 30:
        return ""  # a lone word of that length may be the token itself
    text = re.sub(_NAMED_VALUE, _without_value, text)
    text = re.sub(_SCHEME, _without_value, text)
    return re.sub(_LONG_WORD, "[hidden]", text)[:160]


def _without_value(found: re.Match[str]) -> str:
    """Return the name of a value and, unless it is a word of a sentence, ``[hidden]``."""
    name, value = found.groups()
    in_a_sentence = name.endswith(" ") and "=" not in name
    if in_a_sentence and value.rstrip(".,;:!?)\"'").lower() in _PROSE:
        return found[0]
    return f"{name}[hidden]"
