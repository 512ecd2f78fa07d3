"""Other people's words, made fit for our messages: tame, short, and without a secret."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

__all__ = ["tame"]

HIDDEN = "[hidden]"

# C0, DEL and C1, line and paragraph separators, marks that turn the reading direction, zero-width
# characters and lone surrogates: they forge log lines, or hide what is printed.
_UNRULY = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
# Whatever begins like the header of a JSON web token may be one, also where it was cut short.
_JWT = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)*")
_SPACE = re.compile(r"\s+")


def tame(text: object, secrets: Iterable[str] = (), *, limit: int = 300) -> str:
    """Return *text* as one short line in which none of *secrets* can be read.

    The order matters. Unruly characters are replaced first and not removed, or a secret that was
    cut in two by one would be whole again after it had been looked for. Secrets are hidden before
    the text is shortened, or half of one would stay at the end.
    """
    line = _UNRULY.sub("?", str(text))
    for form in sorted(_forms(secrets), key=len, reverse=True):
        line = line.replace(form, HIDDEN)
    line = _SPACE.sub(" ", _JWT.sub(HIDDEN, line)).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _forms(secrets: Iterable[str]) -> set[str]:
    """Return the ways in which a server may echo *secrets*."""
    forms: set[str] = set()
    for secret in filter(None, secrets):
        encoded = base64.b64encode(secret.encode(errors="surrogatepass")).decode()
        forms |= {
            secret,
            _UNRULY.sub("?", secret),
            quote(secret, safe="", errors="replace"),
            quote_plus(secret, errors="replace"),
            quote(secret, errors="replace"),
            html.escape(secret),
            html.escape(secret, quote=False),
            json.dumps(secret)[1:-1],
            encoded,
            encoded.rstrip("="),
        }
    return forms - {""}
