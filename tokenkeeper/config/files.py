"""Reads files while a service runs: without waiting, and with a limit on their size."""

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

__all__ = [
    "LONGEST",
    "beginning_of",
    "check_trusted",
    "is_read_only",
    "located",
    "read_file",
    "read_secret",
    "readable_by_all",
    "warn",
]

LONGEST = 1024 * 1024
"""The most bytes of a file. A configuration needs a few thousand, a secret fewer."""


def located(directory: Path, name: str) -> Path:
    """Return the path of the file *name* in *directory*; ``~`` is the user's home."""
    return directory / os.path.expanduser(name)


def read_file(path: Path) -> str:
    """Return the text of *path*, without a byte order mark.

    Rejects a pipe, because reading it would wait for its writer, and a file that other users can
    write, directly or by replacing a directory above it.

    :raises InvalidConfigurationError: with the reason why it can't be read, without its name.
    """
    writer = this_process()
    try:
        place = find_trusted(path, writer)
        with open(place, "rb", opener=_opened) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InvalidConfigurationError("can't be read: it is not a regular file")
            refused = distrusted_file(place, status, writer)
            if refused is not None:
                raise refused
            content = file.read(LONGEST + 1)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InvalidConfigurationError(f"can't be read: {why}") from None
    except ValueError:
        raise InvalidConfigurationError("can't be read: its name is invalid") from None
    if len(content) > LONGEST:
        raise InvalidConfigurationError(f"can't be read: it is larger than {LONGEST} bytes")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidConfigurationError("can't be read: it is not UTF-8") from None


def beginning_of(path: Path) -> bytes:
    """Return the first :data:`LONGEST` bytes of *path*; none if it is not a file to read.

    Never waits: not for the writer of a pipe either.
    """
    with suppress(OSError, ValueError), open(path, "rb", opener=_without_waiting) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read(LONGEST)
    return b""


def check_trusted(path: Path) -> None:
    """Check that other users can't write the file or directory *path*, and that it is one.

    A user who can add a CA can impersonate the server and receive the secret. Reading a pipe would
    wait for its writer.

    :raises InvalidConfigurationError: if it can't be trusted, or can't be read.
    """
    writer = this_process()
    try:
        place = find_trusted(path, writer)
        status = place.stat()
        refused = distrusted_file(place, status, writer)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise InvalidConfigurationError(f"can't be read: {why}") from None
    if refused is not None:
        raise refused
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise InvalidConfigurationError("can't be read: it is not a regular file")


def read_secret(path: Path) -> str:
    """Return the secret in the file *path*, without the line end that editors add.

    :raises InvalidConfigurationError: with the reason why it can't be used, without its name.
    """
    secret = read_file(path).rstrip("\r\n")
    if not secret.strip():
        raise InvalidConfigurationError("names an empty file")
    try:
        return checked_text(secret, "it")
    except InvalidConfigurationError as error:
        raise InvalidConfigurationError(
            f"names a file that does not contain a valid secret: {error}"
        ) from None


def readable_by_all(file: Path) -> Iterator[str]:
    """Yield a warning if every user can read *file*, which contains a secret."""
    if os.name == "posix" and _all_can_read(file):
        name = escaped(file.name)
        yield f"{name} contains a secret and is readable by every user. Run: chmod o-r {name}"


def _all_can_read(file: Path) -> bool:
    """Return whether every user can read *file*, considering the directories above it."""
    with suppress(OSError, ValueError):  # it was replaced meanwhile, or does not exist
        place = Path(os.path.realpath(file))  # the directories above a link do not protect it
        open_to_all = bool(place.stat().st_mode & stat.S_IROTH)
        return open_to_all and all(each.stat().st_mode & stat.S_IXOTH for each in place.parents)
    return False


def is_read_only(file: Path) -> bool:
    """Return whether *file* is on a file system that is mounted read-only."""
    with suppress(AttributeError, OSError, ValueError):  # Windows has no statvfs
        return bool(os.statvfs(file).f_flag & os.ST_RDONLY)
    return False


def warn(what: str) -> None:
    """Emit a warning about a secret that other users can see."""
    # All warnings come from this line, so that Python's default filter shows each text once.
    warnings.warn(what, ConfigurationWarning, stacklevel=2)


def _opened(name: str, flags: int) -> int:
    return _without_waiting(name, flags | getattr(os, "O_NOFOLLOW", 0))


def _without_waiting(name: str, flags: int) -> int:
    return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))
