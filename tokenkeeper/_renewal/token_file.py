"""A file that always has the current token, for clients that read tokens from files."""

from __future__ import annotations

import os
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.trust import find_trusted, this_process
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Token

__all__ = ["TokenFile"]


def _checked(path: Any) -> Path:
    """Return *path* if it names a file.

    :raises InvalidConfigurationError: if it does not.
    """
    try:
        place = Path(path)
    except TypeError:
        kind = type(path).__name__
        raise InvalidConfigurationError(f"path must be a path, not {kind}", field="path") from None
    if not place.name or "\0" in place.name:
        raise InvalidConfigurationError(f"path names no file: {escaped(place)}", field="path")
    return place


class TokenFile:
    """Writes tokens to a file that only its owner can read. Thread-safe.

    It belongs to the process that created it: a forked child neither writes nor removes it.

    :raises InvalidConfigurationError: if there is no such directory, or other users could replace
        its files.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        place = _checked(path)
        try:
            directory = find_trusted(place.parent, this_process())
        except (OSError, ValueError) as error:
            raise InvalidConfigurationError(
                f"{escaped(place)} can't be written: {error}", field="path"
            ) from None
        except InvalidConfigurationError as distrusted:
            raise InvalidConfigurationError(
                f"{escaped(place)} can't hold a token: its directory {distrusted}", field="path"
            ) from None
        self._place = directory / place.name
        self._pid = os.getpid()
        self._lock = threading.Lock()  # guards the order of writing and removing
        self._written: OAuth2Token | None = None
        self._is_over = False

    def write(self, token: OAuth2Token) -> None:
        """Write *token* atomically: readers see the old content or the new content.

        :raises OSError: if it can't be written.
        """
        self._write(token, first=False)

    def write_first(self, token: OAuth2Token) -> None:
        """Write *token* unless a newer one was written before.

        :raises OSError: if it can't be written.
        """
        self._write(token, first=True)

    def _write(self, token: OAuth2Token, *, first: bool) -> None:
        if os.getpid() != self._pid:
            return
        with self._lock:
            if self._is_over or (first and self._written is not None):
                return
            if self._written is not None and self._written.access_token == token.access_token:
                return
            handle, new = tempfile.mkstemp(prefix=f".{self._place.name}.", dir=self._place.parent)
            try:
                with open(handle, "w", encoding="ascii") as file:
                    file.write(token.access_token)
                os.replace(new, self._place)
            except BaseException:
                with suppress(OSError):
                    os.unlink(new)
                raise
            self._written = token

    def remove(self) -> None:
        """Remove the file, and write it no more. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._is_over = True
            with suppress(OSError):
                self._place.unlink()

    def stop(self) -> None:
        """Write the file no more, and leave it. Idempotent."""
        if os.getpid() != self._pid:
            return
        with self._lock:
            self._is_over = True
