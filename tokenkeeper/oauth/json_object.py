"""Reads the JSON object in a response, leniently.

Most members of a response are not needed, so a fault in one does no harm: a duplicate member, a
number such as ``NaN``, deep nesting, text in another encoding. The few members that make up a token
are checked by the code that reads them.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.oauth.exchange import HttpAnswer

__all__ = [
    "JsonObject",
    "UnusableResponseError",
    "any_int",
    "narrow_text",
    "read_json",
    "read_object",
]

MAX_DEPTH = 32
"""How deeply values may be nested; a deeper one is read as ``null``."""

_PIECES = r'(?s)"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[\]{}]'
"""Brackets and whole strings: a bracket inside a string does not nest."""

_KIND_OF = {
    list: "a JSON array",
    str: "a JSON string",
    bool: "a JSON boolean",
    int: "a JSON number",
    float: "a JSON number",
    type(None): "JSON null",
}

_WIDE = r"(?i)charset\s*=\s*\"?utf-?(16|32)(?:-?([bl]e))?\b"


class UnusableResponseError(Exception):
    """The reason why a response grants no token, to follow the words "the response"."""


class JsonObject(dict[str, Any]):
    """A JSON object. The last value of a duplicate member is its item."""

    __slots__ = ("_pairs",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs if len(pairs) != len(self) else None

    def every(self, name: str) -> list[Any]:
        """Return every value of *name*, in the order of the text, or an empty list."""
        if self._pairs is None:
            return [self[name]] if name in self else []
        return [value for each, value in self._pairs if each == name]


def read_object(answer: HttpAnswer) -> JsonObject:
    """Return the JSON object in the body of *answer*, whatever its ``Content-Type``.

    :raises UnusableResponseError: if the body is not a JSON object.
    """
    for text in _texts(answer):
        try:
            content = read_json(text)
        except ValueError:
            continue
        if not isinstance(content, JsonObject):
            raise UnusableResponseError(f"is {_KIND_OF[type(content)]}, not an object")
        return content
    raise UnusableResponseError("is not JSON")


def read_json(text: str) -> Any:
    """Return the JSON value *text*, with objects as :class:`JsonObject`.

    :raises ValueError: if it is not JSON.
    """
    try:
        return json.loads(
            _without_depths(text), object_pairs_hook=JsonObject, parse_int=any_int, strict=False
        )
    except RecursionError:  # the caller's own stack was nearly full
        raise ValueError("nested too deeply") from None


def _texts(answer: HttpAnswer) -> Iterator[str]:
    """Yield the body in UTF-16 or UTF-32 if the header names it, and then in UTF-8.

    RFC 8259 §8.1 requires UTF-8, so a server that names another encoding may not use it.
    """
    if wide := re.search(_WIDE, answer.headers.get("content-type", "")):
        with contextlib.suppress(UnicodeDecodeError):
            with forks_wait():  # Python may have to import the codec
                text = answer.body.decode(f"utf-{wide[1]}{wide[2] or ''}")
            yield text
    yield narrow_text(answer.body)


def narrow_text(body: bytes) -> str:
    """Return *body* decoded from UTF-8, as RFC 8259 §8.1 requires, or else from Latin-1."""
    try:
        return body.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError:
        # Every encoding with units of one byte agrees with this one on ASCII, and a token is ASCII.
        return body.decode("latin-1")


def _without_depths(text: str) -> str:
    """Return *text* with ``null`` in place of each value that is nested too deeply."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return text
    kept: list[str] = []
    depth, start = 0, 0
    for piece in re.finditer(_PIECES, text):
        if piece[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                kept += [text[start : piece.start()], "null"]
        elif piece[0] in ("]", "}"):
            if depth == MAX_DEPTH + 1:
                start = piece.end()
            depth -= 1
    if depth <= MAX_DEPTH:
        kept.append(text[start:])
    return "".join(kept)


def any_int(digits: str) -> int | float:
    """Return the integer *digits*, or a very large number if there are 30 or more characters."""
    # int() refuses more than 4300 digits.
    if len(digits) < 30:
        return int(digits)
    return -1e30 if digits.startswith("-") else 1e30
