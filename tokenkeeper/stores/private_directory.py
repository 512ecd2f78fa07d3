"""A directory of files that only their owner may read, write or replace: checked, not opened."""

from __future__ import annotations

import os
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

_HAS_OWNERS = os.name == "posix"
# Don't follow a link, and don't wait for a pipe.
_FLAGS = sum(getattr(os, name, 0) for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK"))


class PrivateDirectory:
    """Checks a directory, and files relative to its descriptor.

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
