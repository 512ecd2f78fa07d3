"""Creates key files, and rotates their keys in the order that a fleet needs.

A process must never meet a text that is sealed with a key it does not have. A new key is therefore
added in second place first, where it opens but does not seal. Once every process has that file, the
key moves to the front. The old key goes when nothing that is stored needs it any more.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tokenkeeper.config.files import read_file
from tokenkeeper.config.trust import find_trusted, this_process
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.stores.key_lines import (
    NAMES,
    KeyLine,
    encoded,
    invalid,
    key_lines,
    new_key,
    number_of,
    ring_of,
)
from tokenkeeper.stores.sealed import KEY_BYTES

__all__ = ["Rotation", "create_key_file", "read_lines", "rotate_key_file"]

_HEADER = "# The keys of Tokenkeeper's store. The first one seals, all of them open."
_NAMES_COMMENT = "# Names the records. Keep this line when the other keys change."
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)


@dataclass(frozen=True, slots=True)
class Rotation:
    """What :func:`rotate_key_file` did.

    :ivar step: ``added`` a key that only opens, ``promoted`` it so that it seals, or ``dropped``
        the keys that are no longer used.
    :ivar kid: the id of the key that was added, or that seals.
    :ivar dropped: the ids of the keys that were dropped.
    """

    step: Literal["added", "promoted", "dropped"]
    kid: str
    dropped: tuple[str, ...] = ()

    @property
    def advice(self) -> str:
        """What to do next, in one sentence."""
        match self.step:
            case "added":
                return "Give the file to every process of the fleet, then rotate again."
            case "promoted":
                return (
                    "Give the file to every process of the fleet. When no stored token needs the "
                    "old key, drop it."
                )
        return "Give the file to every process of the fleet."


def read_lines(path: Path) -> tuple[str, list[KeyLine]]:
    """Return the text of the key file *path*, and the keys in it.

    :raises InvalidConfigurationError: if it can't be read or trusted, or is not a valid key file.
    """
    try:
        text = read_file(path)
    except InvalidConfigurationError as error:
        missing = not os.path.lexists(path)
        advice = ". Create it with: tokenkeeper store new-key" if missing else ""
        raise invalid(path, f" {error}{advice}") from None
    return text, key_lines(text, path)


def create_key_file(path: Path) -> str:
    """Create the file *path* with a new key, for its owner alone; return the id of the key.

    :raises InvalidConfigurationError: if the file exists, can't be written, or other users can
        write a directory above it.
    """
    line = new_key()
    names = encoded(NAMES, secrets.token_bytes(KEY_BYTES))
    text = "\n".join((_HEADER, line, _NAMES_COMMENT, names, ""))
    with _reported(path):
        place = find_trusted(path.parent, this_process()) / path.name
        try:
            handle = os.open(place, _NEW_FILE, 0o600)
        except FileExistsError:
            what = " exists already. Rotate its key with: tokenkeeper store rotate-key"
            raise invalid(path, what) from None
        try:
            _write(handle, text)
            _sync(place.parent)
        except OSError:
            place.unlink(missing_ok=True)
            raise
    return line.partition(":")[0]


def rotate_key_file(path: Path, drop_unused: bool = False) -> Rotation:
    """Take the next step of rotating the keys in the file *path*, which it replaces atomically.

    The first call adds a new key in second place. The second one moves it to the front. Between
    them, every process of the fleet must have got the file; it then reads it within seconds. The
    key that names records is written down as well, so that the names stay. A key that was added is
    recognized by the number in its id.

    :param drop_unused: drop the keys behind the first one, apart from one that was added and does
        not seal yet; ``False`` by default. What they sealed can't be read afterwards: a token is
        requested again, but a refresh token from a sign-in is lost.
    :raises InvalidConfigurationError: if the file is not valid, can't be written, or has no key to
        drop. Then it stays as it was.
    """
    text, lines = read_lines(path)
    first, *others = [line for line in lines if line.kid != NAMES]
    added = [line for line in others if number_of(line.kid) > number_of(first.kid)]
    rows = text.split("\n")
    if drop_unused:
        unused = [line for line in others if line not in added]
        if not unused:
            raise invalid(path, " has no unused key to drop")
        rotation = Rotation("dropped", first.kid, tuple(line.kid for line in unused))
        gone = {line.number for line in unused}
        rows = [row for number, row in enumerate(rows, 1) if number not in gone]
    elif added:
        newest = max(added, key=lambda line: number_of(line.kid))
        rotation = Rotation("promoted", newest.kid)
        row = rows.pop(newest.number - 1)
        rows.insert(first.number - 1, row)
    else:
        row = new_key(1 + number_of(first.kid))
        rotation = Rotation("added", row.partition(":")[0])
        rows.insert(first.number, row)
    if all(line.kid != NAMES for line in lines):
        names = encoded(NAMES, ring_of(lines).names_key)
        rows = ["\n".join(rows).rstrip("\n"), _NAMES_COMMENT, names, ""]
    _replace(path, "\n".join(rows))
    return rotation


def _replace(path: Path, text: str) -> None:
    """Replace the content of *path*; its owner, group and mode stay."""
    with _reported(path):
        place = find_trusted(path, this_process())  # without links, which stay
        status = place.stat()
        new = place.with_name(f".{place.name}.{secrets.token_hex(8)}")
        try:
            handle = os.open(new, _NEW_FILE, 0o600)
            if os.name == "posix":
                os.fchown(handle, status.st_uid, status.st_gid)
                os.fchmod(handle, status.st_mode & 0o777)
            _write(handle, text)
            os.replace(new, place)
            _sync(place.parent)
        finally:
            with suppress(OSError):
                new.unlink(missing_ok=True)


def _write(handle: int, text: str) -> None:
    with open(handle, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(handle)


def _sync(directory: Path) -> None:
    """Write *directory* to the disk, so that a crash does not bring the old file back."""
    if os.name != "posix":
        return
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """Turn errors of the system into errors about the key file *path*."""
    try:
        yield
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise invalid(path, f" can't be written: {why}") from None
    except InvalidConfigurationError as error:
        if error.field is not None:
            raise
        raise invalid(path, f" {error}") from None
