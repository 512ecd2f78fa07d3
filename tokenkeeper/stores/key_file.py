"""Key files: for every process of a fleet to read, and to follow while keys are rotated.

:mod:`~tokenkeeper.stores.key_lines` describes their format.
"""

from __future__ import annotations

import logging
from pathlib import Path

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.file_stamps import stamp_of
from tokenkeeper.stores.key_lines import new_key, ring_of
from tokenkeeper.stores.key_rotation import (
    Rotation,
    create_key_file,
    read_lines,
    rotate_key_file,
)
from tokenkeeper.stores.sealed import KeyRing, Purpose, UnreadableError

__all__ = [
    "CHECK_SECONDS",
    "FileKeyRing",
    "Rotation",
    "create_key_file",
    "new_key",
    "read_key_file",
    "rotate_key_file",
]

CHECK_SECONDS = 5.0
"""How often the file is looked at. A text that does not open makes it looked at immediately."""

_log = logging.getLogger("tokenkeeper.stores")


def read_key_file(path: Path) -> KeyRing:
    """Return the keys of the file *path*.

    :raises InvalidConfigurationError: if it can't be read, other users can write it or replace it,
        or it is not a valid key file. The message names the file, and the line.
    """
    return ring_of(read_lines(path)[1])


class FileKeyRing:
    """The keys of a file, read again when it changes.

    Implements :class:`~tokenkeeper.stores.sealed.Sealer`. Thread-safe without a lock: threads may
    read the file at the same time, and each replaces the ring in one assignment. Works in a forked
    child as well.

    If the file is no longer valid, or was removed, the last valid keys stay in use, and a warning
    is logged once.

    :param path: the file; symbolic links are followed, as in a mounted Kubernetes secret.
    :param clock: the source of time; by default the system's clocks.
    :raises InvalidConfigurationError: if it is not a valid key file.
    """

    def __init__(self, path: Path, clock: Clock = SYSTEM_CLOCK) -> None:
        self.path = path
        self._clock = clock
        self._signature = stamp_of(str(path))  # before reading, so that a later change is noticed
        self._ring = read_key_file(path)
        self._fault = ""
        self._next_check = clock.monotonic() + CHECK_SECONDS

    @property
    def kids(self) -> tuple[str, ...]:
        """The ids of the current keys; the first one seals."""
        return self._current().kids

    def seal(self, plaintext: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return *plaintext* as it is stored under *record_key*."""
        return self._current().seal(plaintext, record_key, purpose)

    def open(self, sealed: bytes, record_key: str, purpose: Purpose) -> bytes:
        """Return what was sealed.

        :raises UnreadableError: if it was not sealed for this record and purpose with a known key.
        """
        ring = self._current()
        try:
            return ring.open(sealed, record_key, purpose)
        except UnreadableError:
            changed = self._checked()
            if changed is ring:
                raise
        return changed.open(sealed, record_key, purpose)

    def is_current(self, sealed: bytes) -> bool:
        """Return whether *sealed* is sealed with the first key."""
        return self._current().is_current(sealed)

    def record_key(self, identity: str) -> str:
        """Return the key of the record of the token that *identity* identifies."""
        return self._current().record_key(identity)

    def __repr__(self) -> str:
        return f"FileKeyRing({str(self.path)!r}, {', '.join(self._ring.kids)})"

    def _current(self) -> KeyRing:
        return self._ring if self._clock.monotonic() < self._next_check else self._checked()

    def _checked(self) -> KeyRing:
        """Return the ring after reading the file again if it changed, or was not valid."""
        self._next_check = self._clock.monotonic() + CHECK_SECONDS
        signature = stamp_of(str(self.path))
        if signature == self._signature and not self._fault:
            return self._ring
        try:
            ring = read_key_file(self.path)
        except InvalidConfigurationError as error:
            if str(error) != self._fault:
                _log.warning(
                    "the key file is not valid, and the last valid keys are used: %s", error
                )
            self._fault = str(error)
            return self._ring
        if ring.names_key != self._ring.names_key:
            _log.warning(
                "the key that names records changed in %s, so stored tokens are not found. Restore "
                "its line 'names'",
                self.path,
            )
        self._ring, self._signature, self._fault = ring, signature, ""
        return ring
