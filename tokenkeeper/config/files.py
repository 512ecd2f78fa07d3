"""Files that are read while a service works: without a wait, and no more than is reasonable."""

from __future__ import annotations

import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tokenkeeper._support.checks import checked_text
from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.trust import distrusted_file, find_trusted, this_process
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError

__all__ = ["check_trusted", "located", "read_file", "read_secret", "readable_by_all", "warn"]

LONGEST = 1024 * 1024
"""Bytes. A configuration takes a few thousand, a secret fewer."""


def located(directory: Path, name: str) -> Path:
    """Return the file that is called *name* in *directory*; ``~`` is the user's home."""
    return directory / os.path.expanduser(name)


def read_file(path: Path) -> str:
    """Return the text of *path*, without the mark (BOM) that some editors begin one with.

    A pipe, which would wait for its writer and could not be read again, is refused. So is a file
    that others may write, itself or by a directory above it.

    :raises InvalidConfigurationError: saying why it can't be read, without its name.
    """
    writer = this_process()
    try:
        place = find_trusted(path, writer)
        with open(place, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidConfigurationError("can't be read: it is no regular file")
            refused = distrusted_file(place, status, writer)
            if refused is not None:
                raise refused
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


def check_trusted(path: Path) -> None:
    """Check a file or directory of CA certificates, which others may not write either.

    Whoever can add a CA can pose as the server, and be sent the secret.

    :raises InvalidConfigurationError: if it can't be trusted, or can't be looked at.
    """
    writer = this_process()
    try:
        place = find_trusted(path, writer)
        refused = distrusted_file(place, place.stat(), writer)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidConfigurationError(f"can't be read: {why}") from None
    if refused is not None:
        raise refused


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


def readable_by_all(file: Path) -> Iterator[str]:
    """Yield a warning if every user can read *file*, which holds a secret."""
    if os.name == "posix" and _all_can_read(file):
        name = escaped(file.name)
        yield f"{name} holds a secret and is readable by every user: chmod o-r {name}"


def _all_can_read(file: Path) -> bool:
    """Say whether every user can: what is in a directory that is closed to them, they can't."""
    with suppress(OSError, ValueError):  # it was replaced meanwhile, or can't be at all
        place = Path(os.path.realpath(file))  # the directories of a link to it keep nobody out
        open_to_all = bool(place.stat().st_mode & stat.S_IROTH)
        return open_to_all and all(each.stat().st_mode & stat.S_IXOTH for each in place.parents)
    return False


def warn(what: str) -> None:
    """Warn of a secret that others may see."""
    # One place for all of them, so that "once for each place" means once for each text.
    warnings.warn(what, ConfigurationWarning, stacklevel=2)


def _opened(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
