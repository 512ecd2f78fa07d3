"""What the errors of SQLite and of the file system mean for a store, and what to do about them."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

from tokenkeeper._support.escaping import escaped
from tokenkeeper.exceptions import StoreUnavailableError

__all__ = ["as_unavailable"]

_UNREADABLE = "It was left as it is: move it away, with its -wal and -shm, and a new one is created"

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# By primary result code: what happened and what to do, and whether waiting won't help.
_MEANINGS = {
    sqlite3.SQLITE_FULL: ("can't grow: the disk is full. Free some space", False),
    sqlite3.SQLITE_NOTADB: (f"is not an SQLite database. {_UNREADABLE}", True),
    sqlite3.SQLITE_CORRUPT: (f"is damaged. {_UNREADABLE}", True),
    sqlite3.SQLITE_ERROR: (f"lacks a table or column that a store has. {_UNREADABLE}", True),
    sqlite3.SQLITE_READONLY: (
        "can't be written. Run: chmod u+w on it, or choose a path on a writable file system",
        True,
    ),
    sqlite3.SQLITE_PERM: ("can't be opened: permission denied. Check who owns it", True),
}


def as_unavailable(
    error: sqlite3.Error | OSError, path: Path, timeout_seconds: float
) -> StoreUnavailableError:
    """Return *error* about the file *path* as the error that stores raise."""
    what, is_misconfigured = (
        _of_the_system(error) if isinstance(error, OSError) else _of_sqlite(error, path)
    )
    if what is None:
        what = (
            f"was locked by another process for {timeout_seconds:g} s. If that lasts, look for a "
            "program that has the file open"
        )
    return StoreUnavailableError(f"{escaped(path)} {what}", is_misconfigured=is_misconfigured)


def _of_sqlite(error: sqlite3.Error, path: Path) -> tuple[str | None, bool]:
    code = getattr(error, "sqlite_errorcode", -1)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = code & 0xFF if code >= 0 else code
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return None, False
    if code == sqlite3.SQLITE_READONLY_DBMOVED:
        return "was moved or deleted while it was in use", False
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # even a reader needs some space beside the file
        return _MEANINGS[sqlite3.SQLITE_FULL]
    if primary in _MEANINGS:
        return _MEANINGS[primary]
    if primary == sqlite3.SQLITE_CANTOPEN:
        # There may also be too many open files, or somebody deletes the file.
        forbidden = not os.access(path, os.R_OK | os.W_OK) and path.exists()
        what = "permission denied. Check who owns it" if forbidden else "check its directory"
        return f"can't be opened: {what} ({name})", forbidden
    return f"can't be used: {escaped(error)} ({name}). Check its disk", False


def _of_the_system(error: OSError) -> tuple[str, bool]:
    if error.errno in _FULL:
        return _MEANINGS[sqlite3.SQLITE_FULL]
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
        return f"can't be opened: {error.strerror}", False
    return f"can't be opened or created: {error.strerror}. Check its path and permissions", True
