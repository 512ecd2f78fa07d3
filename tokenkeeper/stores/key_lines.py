"""The format of key files: the keys that seal what a fleet stores, one a line.

.. code-block:: text

    # the first key seals, all of them open
    k2-5d0c91:3q2+7w...=
    k1-9f3a2c:q83vEj...=
    names:mHd1Cu...=

A line is the id of a key, a colon, and :data:`~tokenkeeper.stores.sealed.KEY_BYTES` random bytes in
base64 (RFC 4648 §4). ``names`` is the key that names records. Blank lines and lines that begin with
``#`` are ignored. No message contains a key.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tokenkeeper._support.escaping import escaped
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.stores.sealed import KEY_BYTES, KeyRing

__all__ = ["NAMES", "KeyLine", "encoded", "invalid", "key_lines", "new_key", "number_of", "ring_of"]

NAMES = "names"
"""The reserved id of the key that names records."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")
_NUMBERED = re.compile(r"k([0-9]{1,20})-[0-9a-f]{6}")
_NEW_KEY = "Create a line with: tokenkeeper store new-key"


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key of a file.

    :ivar number: its line, counted from 1.
    :ivar kid: its id; :data:`NAMES` for the key that names records.
    """

    number: int
    kid: str
    key: bytes = field(repr=False)


def key_lines(text: str, path: Path) -> list[KeyLine]:
    """Return the keys in *text*, the content of the file *path*, in their order.

    :raises InvalidConfigurationError: for the first line that is not valid, and without any key
        that seals.
    """
    lines: dict[str, KeyLine] = {}
    for line in _lines(text, path):
        if line.kid in lines:
            raise invalid(
                path,
                f": duplicate id {line.kid!r}, which line {lines[line.kid].number} has. Remove one",
                line.number,
            )
        lines[line.kid] = line
    if not lines.keys() - {NAMES}:
        raise invalid(path, f" contains no key. {_NEW_KEY}")
    return list(lines.values())


def ring_of(lines: Iterable[KeyLine]) -> KeyRing:
    """Return the ring of the keys in *lines*."""
    keys = {line.kid: line.key for line in lines}
    names_key = keys.pop(NAMES, None)
    return KeyRing(keys, names_key)


def new_key(number: int = 1) -> str:
    """Return a line for a key file: a new random key and its id.

    :param number: the number that the id begins with; 1 by default. Rotation counts it up, so that
        people see the order in which keys were made.
    """
    return encoded(f"k{number}-{secrets.token_hex(3)}", secrets.token_bytes(KEY_BYTES))


def number_of(kid: str) -> int:
    """Return the number that :func:`new_key` was given for *kid*; 0 for another kind of id."""
    found = _NUMBERED.fullmatch(kid)
    return int(found[1]) if found else 0


def encoded(kid: str, key: bytes) -> str:
    """Return the line of a key file for *key*."""
    return f"{kid}:{base64.b64encode(key).decode()}"


def _lines(text: str, path: Path) -> Iterator[KeyLine]:
    for number, line in enumerate(text.split("\n"), 1):
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        kid, colon, encoded_key = content.partition(":")
        if not colon:
            raise invalid(path, f": must be an id, a colon and a key. {_NEW_KEY}", number)
        if not _ID.fullmatch(kid):  # which may be a key in the wrong place, so it is not shown
            what = "the id must be 1 to 32 letters, digits, '-' or '_'"
            raise invalid(path, f": {what}. {_NEW_KEY}", number)
        yield KeyLine(number, kid, _decoded(encoded_key.strip(), kid, path, number))


def _decoded(text: str, kid: str, path: Path, number: int) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise invalid(path, f": the key {kid!r} is not valid base64. {_NEW_KEY}", number) from None
    if len(key) != KEY_BYTES:
        what = f"the key {kid!r} has {len(key)} bytes, and needs {KEY_BYTES}"
        raise invalid(path, f": {what}. {_NEW_KEY}", number)
    return key


def invalid(path: Path, what: str, number: int | None = None) -> InvalidConfigurationError:
    """Return the error for the key file *path*, and its line *number* if one is at fault."""
    place = f"{escaped(path)}" if number is None else f"{escaped(path)}, line {number}"
    return InvalidConfigurationError(f"{place}{what}", field="key_file")
