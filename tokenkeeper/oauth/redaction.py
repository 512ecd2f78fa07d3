"""Other people's words, made fit for our messages: one short line without a secret in it.

A server echoes a secret as it is or encoded, in another case, or cut short. So the text is
decoded as far as it goes, and whatever is the same as a piece of a secret is hidden. Only what
others said is treated so. A sentence of ours with a word hidden in it would say what the secret is.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote, quote_plus

from tokenkeeper._support.hiding import HIDDEN

__all__ = ["HIDDEN", "sanitize"]

LONGEST_TEXT = 8192
"""Characters that are looked at. No message shows more than a few hundred."""

LONGEST_SECRET = 16384
"""Characters of a secret that are looked for."""

WINDOW = 8
"""Characters in a row that say enough of a secret to be hidden; all, if it has fewer."""

SHORT_WINDOW = 6
"""The same at the beginning or the end of a secret, where they are no plain word."""

STANDS_ALONE = 4
"""A secret that is shorter is hidden only where it is a word of its own."""

DEPTH = 3
"""How often a text is decoded. Proxies encode what was encoded before."""

# C0, DEL and C1, line and paragraph separators, marks that turn the reading direction, zero-width
# characters and lone surrogates: they forge log lines, or hide what is printed.
_UNRULY = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
# Whatever begins like the header of a JSON web token may be one, also where it was cut short.
_JWT = re.compile(r"eyJ[\w-]{8,}(?:\.[\w-]*)*")
_SPACE = re.compile(r"\s+")
# A run of percent-encoded bytes; %u0041; an HTML entity; a run of \u0041; \x41; \" and its like.
_ESCAPE = re.compile(
    r"(?P<bytes>(?:%[0-9a-fA-F]{2})+)"
    r"|%u(?P<old>[0-9a-fA-F]{4})"
    r"|(?P<entity>&(?:\#[0-9]{1,7}|\#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});)"
    r"|(?P<units>(?:\\u[0-9a-fA-F]{4})+)"
    r"|\\x(?P<byte>[0-9a-fA-F]{2})"
    r"|\\(?P<plain>.)",
    re.DOTALL,
)


def sanitize(text: object, secrets: Iterable[str] = (), *, limit: int = 300) -> str:
    """Return *text* as one short line in which none of *secrets* can be read.

    Time and memory are bounded, whatever the text is.

    :param secrets: each is looked for as it is, by its pieces, in any case, percent-encoded, as
        HTML, as JSON, in hexadecimal, and in base64, also within longer credentials.
    :param limit: the most characters to return.
    """
    whole = str(text)
    cut = whole[:LONGEST_TEXT]
    hidden = _hidden_places(cut, _Pieces(secrets))
    line = "".join(_shown(cut, hidden))
    line = _SPACE.sub(" ", line).strip()
    return line if len(line) <= limit else line[: limit - 3] + "..."


class _View(NamedTuple):
    """A text as it reads once decoded, and where in the original each character stands."""

    text: str
    places: list[tuple[int, int]]

    @classmethod
    def of(cls, text: str) -> _View:
        return cls(text, [(index, index + 1) for index in range(len(text))])

    def decoded(self) -> _View:
        """Return the view with each escape in the place of what it stands for."""
        if not _ESCAPE.search(self.text):
            return self
        text: list[str] = []
        places: list[tuple[int, int]] = []
        done = 0
        for found in _ESCAPE.finditer(self.text):
            text.append(self.text[done : found.start()])
            places += self.places[done : found.start()]
            for character, first, last in _decoded(found):
                text.append(character)
                places.append((self.places[first][0], self.places[last - 1][1]))
            done = found.end()
        text.append(self.text[done:])
        places += self.places[done:]
        return _View("".join(text), places)

    def folded(self) -> _View:
        """Return the view in one case, with one space for all white space and for ``+``."""
        text: list[str] = []
        places: list[tuple[int, int]] = []
        for character, place in zip(self.text, self.places, strict=True):
            if character.isspace() or character == "+":
                if text and text[-1] == " ":
                    places[-1] = (places[-1][0], place[1])
                    continue
                character = " "
            folded = character.casefold()
            text.append(folded if len(folded) == 1 else character)
            places.append(place)
        return _View("".join(text), places)


def _decoded(found: re.Match[str]) -> Iterator[tuple[str, int, int]]:
    """Yield the characters of an escape, and where in the text each begins and ends."""
    start, end = found.span()
    if found["bytes"]:
        octets = bytes.fromhex(found["bytes"].replace("%", ""))
        for character, first, last in _characters(octets):
            yield character, start + 3 * first, start + 3 * last
    elif found["units"]:
        units = bytes.fromhex(found["units"].replace("\\u", ""))
        first = 0
        for character in units.decode("utf-16-be", "surrogatepass"):
            last = first + (2 if ord(character) > 0xFFFF else 1)
            yield character, start + 6 * first, start + 6 * last
            first = last
    elif found["entity"]:
        for character in html.unescape(found["entity"]):
            yield character, start, end
    elif code := found["old"] or found["byte"]:
        yield chr(int(code, 16)), start, end
    else:
        yield found["plain"], start, end


def _characters(octets: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield the characters of UTF-8, or of Latin-1 where it is none."""
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


def _levels(text: str) -> Iterator[_View]:
    """Yield the views of *text*: as it is, decoded once, and so on as far as that changes it."""
    view = _View.of(text)
    for _ in range(DEPTH + 1):
        yield view.folded()
        decoded = view.decoded()
        if decoded is view:
            return
        view = decoded


class _Pieces:
    """What must not show, cut into pieces of few lengths that can be looked up."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self.by_length: dict[int, set[str]] = {}
        for secret in secrets:
            if secret:
                self._add_secret(secret[:LONGEST_SECRET])

    def _add_secret(self, secret: str) -> None:
        for view in _levels(secret):
            self._add(view.text)
            text = view.text.strip()
            if len(text) > SHORT_WINDOW:
                for piece in (text[:SHORT_WINDOW], text[-SHORT_WINDOW:]):
                    if not piece.isalpha():
                        self.by_length.setdefault(SHORT_WINDOW, set()).add(piece)
        by_form = {quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace")}
        for spelled in {secret, *by_form}:
            octets = spelled.encode(errors="surrogatepass")
            if len(octets) >= STANDS_ALONE:
                self._add(octets.hex(), 2 * SHORT_WINDOW)
                for core in _in_base64(octets):
                    self._add(_View.of(core).folded().text)

    def _add(self, form: str, window: int = WINDOW) -> None:
        length = min(window, len(form))
        pieces = self.by_length.setdefault(length, set())
        pieces.update(form[index : index + length] for index in range(len(form) - length + 1))


def _in_base64(octets: bytes) -> Iterator[str]:
    """Yield what is always the same where *octets* stand within something in base64."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + octets).decode().rstrip("=")
        first = (8 * before + 5) // 6  # the characters before share bits with what comes before
        whole = (8 * (before + len(octets))) // 6
        core = encoded[first:whole]
        if len(core) >= SHORT_WINDOW:
            yield core
            yield core.replace("+", "-").replace("/", "_")


def _hidden_places(text: str, pieces: _Pieces) -> list[bool]:
    """Return of each character of *text* whether it must not show."""
    hidden = [False] * len(text)
    for jwt in _JWT.finditer(text):
        hidden[jwt.start() : jwt.end()] = [True] * (jwt.end() - jwt.start())
    if not pieces.by_length:
        return hidden
    for view in _levels(text):
        for first, last in _found(view.text, pieces):
            start, end = view.places[first][0], view.places[last - 1][1]
            hidden[start:end] = [True] * (end - start)
    return hidden


def _found(text: str, pieces: _Pieces) -> Iterator[tuple[int, int]]:
    """Yield where in *text* pieces of secrets stand."""
    for length, known in pieces.by_length.items():
        for first in range(len(text) - length + 1):
            last = first + length
            if text[first:last] not in known:
                continue
            around = text[max(0, first - 1) : first] + text[last : last + 1]
            if length >= STANDS_ALONE or not any(map(str.isalnum, around)):
                yield first, last


def _shown(text: str, hidden: list[bool]) -> Iterator[str]:
    """Yield *text* in parts, what is hidden replaced."""
    start = 0
    for index in range(1, len(text) + 1):
        if index == len(text) or hidden[index] != hidden[start]:
            yield HIDDEN if hidden[start] else _ruly(text[start:index])
            start = index


def _ruly(text: str) -> str:
    """Return *text* with a question mark for each character that is neither seen nor a space."""
    text = _UNRULY.sub("?", text)
    if text.isprintable():
        return text
    # Unassigned and private characters are left; what a terminal makes of them nobody knows.
    return "".join(each if each.isprintable() or each.isspace() else "?" for each in text)
