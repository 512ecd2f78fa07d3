"""Notices that a file was replaced, without reading it each time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

__all__ = ["Stamp", "is_settled", "stamp_of", "stamps_of"]

Stamp = tuple[int, ...] | None
"""Numbers that change when a file does; ``None`` if there is no such file."""

_SETTLING_SECONDS = 2.0
"""The coarsest time stamps of a file system in use, those of FAT. A file that is written twice
within that time may have the same stamp both times."""

_CHANGED_AT = 4
"""Where a stamp has the time of the last change, in nanoseconds."""


def stamp_of(path: str) -> Stamp:
    """Return the stamp of a file; symbolic links are followed, as in a mounted secret."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def stamps_of(paths: Sequence[str]) -> tuple[Stamp, ...]:
    """Return the stamps of files, in their order."""
    if len(paths) == 1:  # the usual case: a comprehension adds a fifth to its time
        return (stamp_of(paths[0]),)
    return tuple([stamp_of(path) for path in paths])


def is_settled(stamps: Iterable[Stamp], now: float) -> bool:
    """Return whether files with *stamps* were read long enough after their last change.

    Only then an equal stamp means that a file still has the content that was read.

    :param now: the wall clock's time before the files were read, in seconds since the epoch.
    """
    return all(
        stamp is None or abs(now - stamp[_CHANGED_AT] / 1e9) > _SETTLING_SECONDS for stamp in stamps
    )
