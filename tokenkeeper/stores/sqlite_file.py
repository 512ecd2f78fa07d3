"""The SQLite file of a store: created, checked, opened for each operation, and its errors.

The file is opened for each operation, because a connection must not be carried across a fork. For
the same reason a fork waits until no operation runs: see :mod:`tokenkeeper._runtime.fork_gate`.

Nothing here opens the file but SQLite. If a process closes a file, the system drops all locks that
it holds on it, including those that SQLite holds for another thread.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

from tokenkeeper._runtime.fork_gate import FORK_GATE
from tokenkeeper._support.escaping import escaped
from tokenkeeper.exceptions import InvalidConfigurationError, StoreUnavailableError
from tokenkeeper.stores.private_directory import PrivateDirectory
from tokenkeeper.stores.sqlite_errors import as_unavailable

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "SQLiteFile"]

APPLICATION_ID = 0x544F4B4E
"""What the header of the file says about whose it is."""

SCHEMA_VERSION = 1
"""The ``user_version`` of the file."""

SIDE_FILES = ("-wal", "-shm")
"""What SQLite keeps beside the file while it is open; they have the file's permissions."""

CHECKPOINT_SECONDS = 0.25
"""For how long :meth:`SQLiteFile.empty_log` waits for other processes."""

LONGEST_WAIT_SECONDS = 86400.0
"""SQLite counts milliseconds in 32 bits. A greater number would not wait at all."""

# The columns that can be long come last, so that a search reads no more than it needs.
_SCHEMA = """
CREATE TABLE records (
    key TEXT PRIMARY KEY, boot TEXT NOT NULL, drop_at REAL,
    generation INTEGER NOT NULL, lifetime_seconds REAL NOT NULL, sent_at REAL NOT NULL,
    fence INTEGER NOT NULL, owner TEXT NOT NULL, claimed_at REAL NOT NULL, intent TEXT NOT NULL,
    failed_at REAL NOT NULL, failure BLOB, sealed BLOB
);
CREATE INDEX records_to_drop ON records (drop_at) WHERE drop_at IS NOT NULL;
"""


class SQLiteFile:
    """A file that only this user can read, in a directory that only this user can use. Thread-safe.

    :param path: the file; it and its directory are created if they are missing.
    :param timeout_seconds: how long an operation waits for the locks of other processes.
    """

    def __init__(self, path: Path, timeout_seconds: float) -> None:
        self.path = path
        self.timeout_seconds = timeout_seconds
        self._checked_directory: PrivateDirectory | None = None

    @contextmanager
    def transaction(
        self, *, writes: bool = False, durable: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """Run a block in a transaction, which is rolled back if the block raises.

        :param durable: whether what is written must survive a loss of power.
        :raises StoreUnavailableError: if the file can't be used.
        """
        with self.errors_translated(), FORK_GATE.entered(), self._connected() as connection:
            if writes and not durable:
                connection.execute("PRAGMA synchronous = NORMAL")  # it is FULL by default
            # A deferred transaction fails where it first writes, if another process wrote before.
            connection.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
            try:
                self._check_schema(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise

    def empty_log(self) -> None:
        """Remove from the write-ahead log what was overwritten or deleted.

        Usually the log is gone as soon as no process has the file open. This is for a busy file.
        """
        with (
            suppress(StoreUnavailableError),  # the last process that closes the file does it
            self.errors_translated(),
            FORK_GATE.entered(),
            self._connected() as connection,
        ):
            wait = min(self.timeout_seconds, CHECKPOINT_SECONDS)
            connection.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @contextmanager
    def errors_translated(self) -> Iterator[None]:
        """Raise each error about the file as a :class:`StoreUnavailableError`."""
        try:
            yield
        except sqlite3.Error as error:
            raise as_unavailable(error, self.path, self.timeout_seconds) from None
        except InvalidConfigurationError as error:
            raise StoreUnavailableError(str(error), is_misconfigured=True) from None
        except OSError as error:
            raise as_unavailable(error, self.path, self.timeout_seconds) from None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection = _connect(self._checked(), self.timeout_seconds)
        try:
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA journal_size_limit = 0")  # a log that starts over is cut
            yield connection
        finally:
            connection.close()

    def _checked(self) -> Path:
        """Return where the file is, after creating it if it is missing, and checking it."""
        # The log is looked for first: no process that works removes the file, so a log that was
        # there before the file was missing belongs to a file that somebody deleted.
        names = [self.path.name + ending for ending in (*SIDE_FILES, "")]
        try:
            found = self._directory().check(*names)
        except FileNotFoundError:
            self._checked_directory = None  # it was deleted, and is created again
            found = self._directory().check(*names)
        place = self._directory().place() / self.path.name
        if not found[2]:
            if found[0]:
                log = escaped(f"{self.path}{SIDE_FILES[0]}")
                raise StoreUnavailableError(
                    f"{escaped(self.path)} is missing, but {log} is not, and would spoil a new "
                    f"file. Restore the file, or delete {log}",
                    is_misconfigured=True,
                )
            self._create(place)
        return place

    def _directory(self) -> PrivateDirectory:
        directory = self._checked_directory
        if directory is None:
            try:
                directory = PrivateDirectory(self.path.parent, field="store")
            except InvalidConfigurationError as error:
                raise InvalidConfigurationError(
                    f"{error}. Or choose a directory that does not exist yet: it is created for "
                    "you alone"
                ) from None
            self._checked_directory = directory
        return directory

    def _create(self, place: Path) -> None:
        """Create the file with its schema under another name, so that none sees half of it."""
        new = place.with_name(f"{secrets.token_hex(16)}.new")
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_CLOEXEC", 0)
        handle = os.open(new, flags, 0o600)
        try:
            try:
                os.chmod(new, 0o600)  # the umask may have removed some of it
            finally:
                os.close(handle)
            self._fill(new)
            with suppress(FileExistsError):  # another process was faster
                if os.name == "posix":
                    os.link(new, place)
                else:
                    os.rename(new, place)  # on Windows this does not replace a file
        finally:
            for ending in ("", *SIDE_FILES):
                Path(f"{new}{ending}").unlink(missing_ok=True)

    def _fill(self, place: Path) -> None:
        connection = _connect(place, self.timeout_seconds)
        try:
            connection.executescript(
                f"PRAGMA journal_mode = WAL; BEGIN; {_SCHEMA}"
                f"PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
            )
        finally:
            connection.close()

    def _check_schema(self, connection: sqlite3.Connection) -> None:
        ((version,),) = connection.execute("PRAGMA user_version")
        if version == SCHEMA_VERSION:
            return
        ((application,),) = connection.execute("PRAGMA application_id")
        if application != APPLICATION_ID:
            what = "is not a store of Tokenkeeper. Choose another path, or move the file away"
        elif version > SCHEMA_VERSION:
            what = f"has schema {version} of a newer Tokenkeeper. Upgrade this one"
        else:
            what = f"has schema {version} of an older Tokenkeeper. Move the file away"
        raise StoreUnavailableError(f"{escaped(self.path)} {what}", is_misconfigured=True)


def _connect(place: Path, timeout_seconds: float) -> sqlite3.Connection:
    """Return a connection without implicit transactions. It creates no file."""
    return sqlite3.connect(
        f"{_uri(place)}?mode=rw",
        timeout=min(timeout_seconds, LONGEST_WAIT_SECONDS),
        isolation_level=None,
        uri=True,
        cached_statements=0,
    )


@lru_cache(maxsize=8)
def _uri(place: Path) -> str:
    return place.as_uri()
