"""What errors of SQLite and of the system mean: an outage, or something to be changed."""

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from tokenkeeper.stores.sqlite_errors import as_unavailable

PATH = Path("/nowhere/store.db")

OF_SQLITE = {
    "SQLITE_BUSY": ("locked by another process for 2 s", False),
    "SQLITE_BUSY_RECOVERY": ("locked by another process for 2 s", False),
    "SQLITE_LOCKED": ("locked by another process for 2 s", False),
    "SQLITE_FULL": ("disk is full", False),
    "SQLITE_IOERR_SHMSIZE": ("disk is full", False),
    "SQLITE_IOERR_WRITE": (r"can't be used: what it said \(SQLITE_IOERR_WRITE\)", False),
    "SQLITE_NOTADB": ("not an SQLite database", True),
    "SQLITE_CORRUPT": ("damaged", True),
    "SQLITE_ERROR": ("lacks a table", True),
    "SQLITE_READONLY": (r"chmod u\+w", True),
    "SQLITE_READONLY_DIRECTORY": (r"chmod u\+w", True),
    "SQLITE_READONLY_DBMOVED": ("moved or deleted", False),
    "SQLITE_PERM": ("permission denied", True),
    "SQLITE_CANTOPEN": ("can't be opened: check its directory", False),
}

OF_THE_SYSTEM = {
    errno.ENOSPC: ("disk is full", False),
    errno.EDQUOT: ("disk is full", False),
    errno.EMFILE: ("can't be opened: ", False),
    errno.ENOENT: ("Check its path and permissions", True),
    errno.EACCES: ("Check its path and permissions", True),
    errno.EROFS: ("Check its path and permissions", True),
}


def error_of(name):
    """Return an error as the module raises it."""
    error = sqlite3.OperationalError("what it said")
    error.sqlite_errorcode = getattr(sqlite3, name)
    error.sqlite_errorname = name
    return error


@pytest.mark.parametrize(("name", "expected"), OF_SQLITE.items(), ids=OF_SQLITE)
def test_errors_of_sqlite(name, expected):
    """Each result code is an outage or a misconfiguration, and extended codes are as their kind."""
    error = as_unavailable(error_of(name), PATH, 2.0)
    with pytest.raises(type(error), match=expected[0]):
        raise error
    assert error.is_misconfigured is expected[1]
    assert str(error).startswith("/nowhere/store.db ")


@pytest.mark.parametrize(("number", "expected"), OF_THE_SYSTEM.items(), ids=map(str, OF_THE_SYSTEM))
def test_errors_of_the_system(number, expected):
    """Each error of the file system is an outage or a misconfiguration."""
    error = as_unavailable(OSError(number, os.strerror(number)), PATH, 2.0)
    with pytest.raises(type(error), match=expected[0]):
        raise error
    assert error.is_misconfigured is expected[1]


def test_a_forbidden_file(tmp_path, monkeypatch):
    """A file that can't be opened because of its permissions is a misconfiguration."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    error = as_unavailable(error_of("SQLITE_CANTOPEN"), tmp_path, 2.0)
    assert error.is_misconfigured
    assert "permission denied" in str(error)


def test_an_error_without_a_code():
    """Errors that the module raises itself have no code, and are outages with their message."""
    error = as_unavailable(sqlite3.OperationalError("Could not\ndecode"), PATH, 2.0)
    assert not error.is_misconfigured
    assert r"can't be used: Could not\ndecode (OperationalError)" in str(error)
