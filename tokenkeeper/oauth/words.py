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
_PERCENT = re.compile(r"%[0-9A-F]{2}")  # RFC 3986 §2.1 wants upper case, and not all obey


def tame(text: object, secrets: Iterable[str] = (), *, limit: int = 300) -> str:
    """Return *text* as one short line in which none of *secrets* can be read.

    The order matters. Unruly characters are replaced first and not removed, or a secret that was
    cut in two by one would be whole again after it had been looked for. Secrets are hidden before
    white space is joined, which would take apart one with two spaces in it, and again after, as
    it may put one together. The text is shortened last, or half a secret would stay at the end.
    """
    forms = sorted(_forms(secrets), key=len, reverse=True)
    line = _hide(forms, _ruly(str(text)))
    line = _hide(forms, _SPACE.sub(" ", _JWT.sub(HIDDEN, line))).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


def _ruly(text: str) -> str:
    """Return *text* with a question mark for each character that is neither seen nor a space."""
    text = _UNRULY.sub("?", text)
    if text.isprintable():
        return text
    # Unassigned and private characters are left; what a terminal makes of them nobody knows.
    return "".join(each if each.isprintable() or each.isspace() else "?" for each in text)


def _hide(forms: Iterable[str], line: str) -> str:
    for form in forms:
        line = line.replace(form, HIDDEN)
    return line


def _forms(secrets: Iterable[str]) -> set[str]:
    """Return the ways in which a server may echo *secrets*."""
    forms: set[str] = set()
    for secret in filter(None, secrets):
        encoded = base64.b64encode(secret.encode(errors="surrogatepass")).decode()
        in_json = json.dumps(secret)[1:-1]
        forms |= {
            secret,
            _ruly(secret),
            quote(secret, safe="", errors="replace"),
            quote_plus(secret, errors="replace"),
            quote(secret, errors="replace"),
            quote(secret, safe="!*'()", errors="replace"),  # as JavaScript does
            html.escape(secret),
            html.escape(secret).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
            html.escape(secret, quote=False),
            in_json,
            in_json.replace("/", "\\/"),  # as PHP does
            json.dumps(secret, ensure_ascii=False)[1:-1],
            encoded,
            encoded.rstrip("="),
        }
    forms |= {_PERCENT.sub(lambda found: found[0].lower(), form) for form in forms}
    return forms - {""}
