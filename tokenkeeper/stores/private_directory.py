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
"""The most bytes that a file may have. A token needs a few thousand."""

_HAS_OWNERS = os.name == "posix"
# Don't follow a link, don't wait for a pipe, and don't take over a terminal.
_FLAGS = sum(
    getattr(os, name, 0)
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_BINARY")
)


class PrivateDirectory:
    """Opens files relative to the descriptor of a checked directory, and checks each of them.

    Each operation opens and checks the directory again, along a path that no other user can change.
    The directory is created if it is missing, whatever the umask is.

    :param field: the setting that errors name.
    :raises InvalidConfigurationError: if others can use the directory, or it can't be made.
    """

    def __init__(self, path: Path, *, field: str = "cache") -> None:
        self.path = path
        self._field = field
        try:
            place = find_trusted(path.parent, this_process()) / path.name
            with suppress(FileExistsError):
                place.mkdir(mode=0o700)
                place.chmod(0o700)  # the umask may have removed some of it
            with self._opened():
                pass
        except OSError as error:
            raise self.unfit(error) from None
        except InvalidConfigurationError as error:
            if error.field is not None:
                raise
            raise InvalidConfigurationError(
                f"{escaped(path)} can't store tokens: its location {error}", field=field
            ) from None

    def read(self, name: str) -> bytes | None:
        """Return the content of the file *name*.

        ``None`` if there is no such file, or it is not exclusively ours: a link, a device, a pipe,
        another user's file, one that others can read or write, or one that is too long.
        """
        with suppress(OSError, InvalidConfigurationError), self._opened() as at:
            handle = os.open(self._at(name, at), os.O_RDONLY | _FLAGS, dir_fd=at)
            with open(handle, "rb") as file:
                content = file.read(LONGEST + 1) if _is_ours(os.fstat(handle)) else b""
            return content if 0 < len(content) <= LONGEST else None
        return None

    def write(self, name: str, content: bytes) -> None:
        """Write the file *name* atomically: readers see the old content or the new content.

        :raises OSError: if it can't be written.
        """
        with self._opened() as at, self._new_file(content, at) as new:
            os.replace(new, self._at(name, at), src_dir_fd=at, dst_dir_fd=at)

    def create(self, name: str, content: bytes) -> bool:
        """Write the file *name* unless it exists, and return whether it was written.

        :raises OSError: if it can't be written.
        """
        with self._opened() as at, self._new_file(content, at) as new:
            place = self._at(name, at)
            try:
                if at is None:
                    os.rename(new, place)  # on Windows this does not replace a file
                else:
                    os.link(new, place, src_dir_fd=at, dst_dir_fd=at)
            except FileExistsError:
                return False
            return True

    def touch(self, name: str) -> None:
        """Create the file *name* unless it exists, and check that it is exclusively ours.

        :raises OSError: if it can't be created, or is not.
        """
        with self._opened() as at:
            flags = os.O_RDWR | os.O_CREAT | _FLAGS
            handle = os.open(self._at(name, at), flags, 0o600, dir_fd=at)
            with open(handle, "rb"):
                if not _is_ours(os.fstat(handle)):
                    raise PermissionError(0, f"{name} is not your private file")

    def check(self, *names: str) -> list[bool]:
        """Return for each of the files *names* whether it exists, without opening any.

        :raises InvalidConfigurationError: naming the remedy, if one of them is not a regular file
            that only we can read or write, or the directory is not ours alone.
        :raises OSError: if they can't be examined.
        """
        with self._opened() as at:
            return [self._is_private_file(name, at) for name in names]

    def place(self) -> Path:
        """Return the directory's path with the links before its name resolved.

        :raises InvalidConfigurationError: if other users can change that path.
        :raises OSError: if there is no such path.
        """
        return find_trusted(self.path.parent, this_process()) / self.path.name

    def remove(self, name: str) -> bool:
        """Remove the file *name*, and return whether it existed.

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
        """Return *error* as an error about the directory."""
        return InvalidConfigurationError(
            f"{escaped(self.path)} can't store tokens: {error.strerror}", field=self._field
        )

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """Yield a descriptor of the directory; ``None`` on systems without them."""
        if not _HAS_OWNERS:
            yield None
            return
        place = self.place()
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
        # A shared directory such as /tmp must stay shared.
        place = str(self.path)
        shared = mode & stat.S_ISVTX
        remedy = f"mkdir -m 700 {place}/NAME" if shared else f"chmod 700 {shlex.quote(place)}"
        return InvalidConfigurationError(
            f"{escaped(place)} can't store tokens: it must be a directory that only you can read. "
            f"Run: {escaped(remedy)}",
            field=self._field,
        )

    @contextmanager
    def _new_file(self, content: bytes, at: int | None) -> Iterator[Any]:
        """Yield the path of a new file with *content*, and remove it unless it was moved."""
        new = self._at(f"{secrets.token_hex(16)}.new", at)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FLAGS
        handle = os.open(new, flags, 0o600, dir_fd=at)
        try:
            with open(handle, "wb") as file:
                if _HAS_OWNERS:
                    os.fchmod(handle, 0o600)  # the umask may have removed some of it
                file.write(content)
            yield new
        finally:
            with suppress(FileNotFoundError):
                os.unlink(new, dir_fd=at)

    def _is_private_file(self, name: str, at: int | None) -> bool:
        try:
            status = os.stat(self._at(name, at), dir_fd=at, follow_symlinks=False)
        except FileNotFoundError:
            return False
        file = self.path / name
        if not stat.S_ISREG(status.st_mode):
            remedy = "It is not a regular file. Move it away, or choose another path"
        elif _HAS_OWNERS and status.st_uid != os.geteuid():
            remedy = "It belongs to another user. Move it away, or choose another path"
        elif _HAS_OWNERS and status.st_mode & 0o077:
            remedy = f"Other users can read or write it. Run: chmod 600 {shlex.quote(str(file))}"
        else:
            return True
        raise InvalidConfigurationError(
            f"{escaped(file)} can't store tokens. {escaped(remedy)}", field=self._field
        )

    def _at(self, name: str, at: int | None) -> Any:
        return self.path / name if at is None else name


def _is_ours(status: os.stat_result) -> bool:
    """Return whether a file is a regular one that no other user can read or write."""
    if not stat.S_ISREG(status.st_mode):
        return False
    if not _HAS_OWNERS:
        return True
    private = not status.st_mode & 0o077 and status.st_nlink <= 1
    return private and status.st_uid == os.geteuid()
