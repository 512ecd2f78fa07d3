"""Makes text from servers fit for our messages: one line, no control characters, no secrets.

A server echoes a secret plain or encoded, in another case, or truncated. So the text is decoded as
far as possible, and every piece of a secret in it is hidden. Use this only for text from others: in
our own sentence, a hidden word would reveal what the secret is.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.hiding import HIDDEN
from tokenkeeper.oauth.entities import unescape_entities

__all__ = ["HIDDEN", "SecretPieces", "sanitize"]

LONGEST_TEXT = 8192
"""Characters of the text that are examined. No message shows more than a few hundred."""

LONGEST_SECRET = 16384
"""Characters of a secret that are searched for."""

WINDOW = 8
"""The length of the pieces of a secret that are hidden; a shorter secret is one piece."""

SHORT_WINDOW = 6
"""The length of a piece at the start or the end of a secret, unless it is only letters."""

SHORTEST_WITHIN_WORDS = 4
"""A shorter secret is hidden only where it is a whole word."""

DEPTH = 3
"""How often a text is decoded. Proxies encode text that is already encoded."""

# C0, DEL and C1, line and paragraph separators, marks that change the reading direction, zero-width
# characters and lone surrogates: they forge log lines, or hide text.
_UNSAFE = r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
# Text that begins like a JSON Web Token may be one, even a truncated one.
_JWT = r"eyJ[\w-]{8,}(?:\.[\w-]*)*"
# A run of percent-encoded bytes; %u0041; an HTML entity; a run of \u0041; \x41; \" and its like.
_ESCAPE = (
    r"(?P<bytes>(?:%[0-9a-fA-F]{2})+)"
    r"|%u(?P<old>[0-9a-fA-F]{4})"
    r"|(?P<entity>&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});)"
    r"|(?P<units>(?:\\u[0-9a-fA-F]{4})+)"
    r"|\\x(?P<byte>[0-9a-fA-F]{2})"
    r"|\\(?P<plain>(?s:.))"
)


def sanitize(text: object, secrets: Iterable[str] | SecretPieces = (), *, limit: int = 300) -> str:
    """Return *text* as one short line in which none of *secrets* can be read.

    Time and memory are bounded, whatever the text is.

    :param secrets: the texts to hide. Each is found whole and in pieces, in any case,
        percent-encoded, and encoded for HTML, JSON, hexadecimal or base64, also within longer
        credentials. :class:`SecretPieces` save time if there are several texts.
    :param limit: the maximum length of the result, in characters; 300 by default.
    """
    whole = str(text)
    cut = whole[:LONGEST_TEXT]
    pieces = secrets if isinstance(secrets, SecretPieces) else SecretPieces(secrets)
    hidden = _hidden_positions(cut, pieces)
    line = "".join(_shown(cut, hidden))
    line = re.sub(r"\s+", " ", line).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


class _View(NamedTuple):
    """A decoded text, and the position of each of its characters in the original."""

    text: str
    positions: list[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> _View:
        return cls(text, [(index, index + 1) for index in range(len(text))])

    def decoded(self) -> _View:
        """Return the view with each escape decoded, or this same view if there are none."""
        if not re.search(_ESCAPE, self.text):
            return self
        text: list[str] = []
        positions: list[tuple[int, int]] = []
        done = 0
        for found in re.finditer(_ESCAPE, self.text):
            text.append(self.text[done : found.start()])
            positions += self.positions[done : found.start()]
            for character, first, last in _decoded(found):
                text.append(character)
                positions.append((self.positions[first][0], self.positions[last - 1][1]))
            done = found.end()
        text.append(self.text[done:])
        positions += self.positions[done:]
        return _View("".join(text), positions)

    def folded(self) -> _View:
        """Return the view case-folded, with white space and ``+`` collapsed to single spaces."""
        text: list[str] = []
        positions: list[tuple[int, int]] = []
        for character, position in zip(self.text, self.positions, strict=True):
            if character.isspace() or character == "+":
                if text and text[-1] == " ":
                    positions[-1] = (positions[-1][0], position[1])
                    continue
                character = " "
            folded = character.casefold()
            text.append(folded if len(folded) == 1 else character)
            positions.append(position)
        return _View("".join(text), positions)


def _decoded(found: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the characters of an escape, each with its start and end in the text."""
    start, end = found.span()
    if found["bytes"]:
        octets = bytes.fromhex(found["bytes"].replace("%", ""))
        for character, first, last in _characters(octets):
            yield character, start + 3 * first, start + 3 * last
    elif found["units"]:
        units = bytes.fromhex(found["units"].replace("\\u", ""))
        first = 0
        with forks_wait():  # Python may have to import the codec
            decoded = units.decode("utf-16-be", "surrogatepass")
        for character in decoded:
            last = first + (2 if ord(character) > 0xFFFF else 1)
            yield character, start + 6 * first, start + 6 * last
            first = last
    elif found["entity"]:
        for character in unescape_entities(found["entity"]):
            yield character, start, end
    elif code := found["old"] or found["byte"]:
        yield chr(int(code, 16)), start, end
    else:
        yield found["plain"], start, end


def _characters(octets: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the characters of UTF-8, or of Latin-1 for bytes that are not UTF-8."""
    index = 0
    while index < len(octets):
        first = octets[index]
        size = 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
        try:
            character = octets[index : index + size].decode()
        except UnicodeDecodeError:
            character, size = chr(first), 1
        yield character, index, index + size
        index += size


def _views(text: str) -> Iterator[_View]:
    """Yield the views of *text*: undecoded, decoded once, and so on until nothing changes."""
    view = _View.of(text)
    for _ in range(DEPTH + 1):
        yield view.folded()
        decoded = view.decoded()
        if decoded is view:
            return
        view = decoded


class SecretPieces:
    """Secrets, cut into pieces of a few lengths that can be looked up in several texts.

    A token of a few thousand characters takes milliseconds, so nothing is cut before there is a
    text to look at. Used by one thread.

    :param secrets: the texts to hide, as in :func:`sanitize`. They are read once.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets: Iterable[str] | None = secrets
        self._by_length: dict[int, set[str]] = {}

    def by_length(self) -> dict[int, set[str]]:
        """Return the pieces by their length."""
        secrets, self._secrets = self._secrets, None
        for secret in secrets or ():
            if secret:
                self._add_secret(secret[:LONGEST_SECRET])
        return self._by_length

    def _add_secret(self, secret: str) -> None:
        for view in _views(secret):
            text = view.text.strip()
            for form in filter(None, {view.text, text}):  # a server may strip what it was sent
                self._add(form)
            if len(text) > SHORT_WINDOW:
                for piece in (text[:SHORT_WINDOW], text[-SHORT_WINDOW:]):
                    if not piece.isalpha():
                        self._by_length.setdefault(SHORT_WINDOW, set()).add(piece)
        by_form = {quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
        for spelled in {secret, *by_form}:
            octets = spelled.encode(errors="surrogatepass")
            if len(octets) >= SHORTEST_WITHIN_WORDS:
                self._add(octets.hex(), 2 * SHORT_WINDOW)
                for core in _in_base64(octets):
                    self._add(core)

    def _add(self, form: str, window: int = WINDOW) -> None:
        length = min(window, len(form))
        pieces = self._by_length.setdefault(length, set())
        pieces.update(form[index : index + length] for index in range(len(form) - length + 1))


def _in_base64(octets: bytes) -> Iterator[str]:
    """Yield the base64 characters that depend on *octets* only, for each alignment.

    They are folded as :meth:`_View.folded` does it, which takes far longer.
    """
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + octets).decode()
        first = (8 * before + 5) // 6  # earlier characters share bits with what precedes the secret
        whole = (8 * (before + len(octets))) // 6
        core = encoded[first:whole]
        if len(core) >= SHORT_WINDOW:
            url_safe = core.replace("+", "-").replace("/", "_")
            yield from {re.sub(r"\++", " ", core).casefold(), url_safe.casefold()}


def _hidden_positions(text: str, pieces: SecretPieces) -> list[bool]:
    """Return for each character of *text* whether it must be hidden."""
    hidden = [False] * len(text)
    for jwt in re.finditer(_JWT, text):
        hidden[jwt.start() : jwt.end()] = [True] * (jwt.end() - jwt.start())
    by_length = pieces.by_length() if text else {}
    if not by_length:
        return hidden
    for view in _views(text):
        for first, last in _found(view.text, by_length):
            start, end = view.positions[first][0], view.positions[last - 1][1]
            hidden[start:end] = [True] * (end - start)
    return hidden


def _found(text: str, by_length: dict[int, set[str]]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of each piece of a secret in *text*."""
    for length, known in by_length.items():
        for first in range(len(text) - length + 1):
            last = first + length
            if text[first:last] not in known:
                continue
            around = text[max(0, first - 1) : first] + text[last : last + 1]
            if length >= SHORTEST_WITHIN_WORDS or not any(map(str.isalnum, around)):
                yield first, last


def _shown(text: str, hidden: list[bool]) -> Iterator[str]:
    """Yield *text* in parts, with hidden parts replaced."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or hidden[index] != hidden[start]:
            yield HIDDEN if hidden[start] else _printable(text[start:index])
            start = index


def _printable(text: str) -> str:
    """Return *text* with a question mark for each character that is not printable or a space."""
    text = re.sub(_UNSAFE, "?", text)
    if text.isprintable():
        return text
    # What remains are unassigned and private-use characters, which terminals treat differently.
    return "".join(each if each.isprintable() or each.isspace() else "?" for each in text)
