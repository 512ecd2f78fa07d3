"""A directory of files that only their owner may read, write or replace."""

from __future__ import annotations

import os
import secrets
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.trust import find_trusted, this_process
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["PrivateDirectory"]

LONGEST = 1024 * 1024
"""Bytes of a file here. A token takes a few thousand."""

_HAS_OWNERS = os.name == "posix"
# A link is not followed, a pipe is not waited for, and a terminal does not become ours.
_FLAGS = sum(
    getattr(os, name, 0)
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)


class PrivateDirectory:
    """Opens files by the descriptor of a directory that was checked, and checks each of them.

    Nothing is taken on trust from one operation to the next: each opens the directory anew, by a
    way that nobody else can change.

    :raises InvalidConfigurationError: if others may use it, or if it can't be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            place = find_trusted(path.parent, this_process()) / path.name
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
            with self._opened():
                pass
        except OSError as error:
            raise self.unfit(error) from None
        except InvalidConfigurationError as error:
            if error.field is not None:
                raise
            raise InvalidConfigurationError(
                f"{escaped(path)} can't keep tokens: its place {error}", field="cache"
            ) from None

    def read(self, name: str) -> bytes | None:
        """Return what the file *name* holds.

        ``None`` if there is none, or one that is not ours alone: a link, a device, a pipe, another
        user's, one that others may read or write, or one that is too long to be ours.
        """
        with suppress(OSError, InvalidConfigurationError), self._opened() as at:
            handle = os.open(self._at(name, at), os.O_RDONLY | _FLAGS, dir_fd=at)
            with open(handle, "rb") as file:
                content = file.read(LONGEST + 1) if _is_ours(os.fstat(handle)) else b""
            return content if 0 < len(content) <= LONGEST else None
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write the file *name* as a whole: readers see the old one or the new one.

        :raises OSError: if it can't be written.
        """
        with self._opened() as at, self._new_file(content, at) as new:
            os.replace(new, self._at(name, at), src_dir_fd=at, dst_dir_fd=at)

    def create(self, name: str, content: bytes) -> bool:
        """Write the file *name* unless there is one; say whether it was written.

        :raises OSError: if it can't be written.
        """
        with self._opened() as at, self._new_file(content, at) as new:
            place = self._at(name, at)
            try:
                if at is None:
                    os.rename(new, place)  # Windows refuses to replace a file so
                else:
                    os.link(new, place, src_dir_fd=at, dst_dir_fd=at)
            except FileExistsError:
                return False
            return True

    def touch(self, name: str) -> None:
        """See to it that there is a file *name* that is ours alone.

        :raises OSError: if that can't be.
        """
        with self._opened() as at:
            flags = os.O_RDWR | os.O_CREAT | _FLAGS
            handle = os.open(self._at(name, at), flags, 0o600, dir_fd=at)
            with open(handle, "rb"):
                if not _is_ours(os.fstat(handle)):
                    raise PermissionError(0, f"{name} is not a file of yours alone")

    def remove(self, name: str) -> bool:
        """Remove the file *name*; say whether there was one.

        :raises OSError: if it can't be removed.
        """
        with self._opened() as at:
            try:
                os.unlink(self._at(name, at), dir_fd=at)
            except FileNotFoundError:
                return False
            return True

    def names(self) -> list[str]:
        """Return the names of all files."""
        with self._opened() as at:
            return os.listdir(self.path if at is None else at)

    def unfit(self, error: OSError) -> InvalidConfigurationError:
        """Return *error* as what is said of the directory."""
        return InvalidConfigurationError(
            f"{escaped(self.path)} can't keep tokens: {error.strerror}", field="cache"
        )

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Yield a descriptor of the directory; ``None`` where there is no such thing."""
        if not _HAS_OWNERS:
            yield None
            return
        place = find_trusted(self.path.parent, this_process()) / self.path.name
        directory = getattr(os, "O_DIRECTORY", 0)
        try:
            at = os.open(place, os.O_RDONLY | directory | _FLAGS)
        except NotADirectoryError:
            raise self._not_private(0) from None
        try:
            self._check(os.fstat(at))
            yield at
        finally:
            os.close(at)

    def _check(self, status: os.stat_result) -> None:
        if status.st_mode & 0o077 or status.st_uid != os.geteuid():
            raise self._not_private(status.st_mode)

    def _not_private(self, mode: int) -> InvalidConfigurationError:
        # /tmp and its like are everybody's, and are to stay so.
        place = str(self.path)
        shared = mode & stat.S_ISVTX
        remedy = f"mkdir -m 700 {place}/NAME" if shared else f"chmod 700 {shlex.quote(place)}"
        return InvalidConfigurationError(
            f"{escaped(place)} can't keep tokens: it must be a directory of yours that nobody "
            f"else may look into ({escaped(remedy)})",
            field="cache",
        )

    @contextmanager
    def _new_file(self, content: bytes, at: int | None) -> Iterator[Any]:
        """Yield where a new file with *content* is; afterwards it is gone, or elsewhere."""
        new = self._at(f"{secrets.token_hex(16)}.new", at)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        handle = os.open(new, flags, 0o600, dir_fd=at)
        try:
            with open(handle, "wb") as file:
                file.write(content)
            yield new
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=at)

    def _at(self, name: str, at: int | None) -> Any:
        return self.path / name if at is None else name


def _is_ours(status: os.stat_result) -> bool:
    """Return whether a file is a regular one, and nobody else's in any way."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not _HAS_OWNERS:
        return True
    private = not status.st_mode & 0o077 and status.st_nlink <= 1
    return private and status.st_uid == os.geteuid()
