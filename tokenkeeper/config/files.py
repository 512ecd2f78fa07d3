"""Files that are read while a service works: without a wait, and no more than is reasonable."""

from __future__ import annotations

import os
import stat
import warnings
from contextlib import suppress
from pathlib import Path

from tokenkeeper.checks import checked_text
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError

__all__ = ["located", "read_file", "read_secret", "warn", "warn_if_readable"]

LONGEST = 1024 * 1024
"""Bytes. A configuration takes a few thousand, a secret fewer."""


def located(directory: Path, name: str) -> Path:
    """Return the file that is called *name* in *directory*; ``~`` is the user's home."""
    return directory / os.path.expanduser(name)


def read_file(path: Path) -> str:
    """Return the text of *path*, without the mark (BOM) that some editors begin one with.

    A pipe, which would wait for its writer and could not be read again, is refused.

    :raises InvalidConfigurationError: saying why it can't be read, without its name.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise InvalidConfigurationError("can't be read: it is no regular file")
            content = file.read(LONGEST + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InvalidConfigurationError(f"can't be read: {why}") from None
    except ValueError:
        raise InvalidConfigurationError("can't be read: no file can be called that") from None
    if len(content) > LONGEST:
        raise InvalidConfigurationError(f"can't be read: it has more than {LONGEST} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidConfigurationError("can't be read: it is not UTF-8") from None


def read_secret(path: Path) -> str:
    """Return the secret that *path* holds, without the line end that editors put there.

    :raises InvalidConfigurationError: saying why there is none, without the name of the file.
    """
    secret = read_file(path).rstrip("\r\n")
    if not secret.strip():
        raise InvalidConfigurationError("names an empty file")
    try:
        return checked_text(secret, "it")
    except InvalidConfigurationError as error:
        raise InvalidConfigurationError(f"names a file that can't be a secret: {error}") from None


def warn_if_readable(file: Path) -> None:
    """Warn of a file with a secret in it that every user can read."""
    if os.name == "posix" and _all_can_read(file):
        warn(f"{file.name} holds a secret and is readable by every user: chmod o-r {file.name}")


def _all_can_read(file: Path) -> bool:
    """Say whether every user can: what is in a directory that is closed to them, they can't."""
    with suppress(OSError):  # it was replaced meanwhile
        place = Path(os.path.realpath(file))  # the directories of a link to it keep nobody out
        open_to_all = bool(place.stat().st_mode & stat.S_IROTH)
        return open_to_all and all(each.stat().st_mode & stat.S_IXOTH for each in place.parents)
    return False


def warn(what: str) -> None:
    """Warn of a secret that others may see."""
    # Far from here, so that "once for each place" is once for each text.
    warnings.warn(what, ConfigurationWarning, stacklevel=2)


def _opened(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
