"""A store in an SQLite file: for the processes of one user on one machine. Needs no extra.

The file must be on a local file system, because SQLite's locks and its write-ahead log need memory
that the processes share. Ages are measured by the system's clock that keeps counting during sleep,
together with the id of the boot: after a restart of the machine, stored tokens are of unknown age,
so they are replaced, and refresh tokens remain.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes, urlsplit

from tokenkeeper._support.checks import checked_seconds
from tokenkeeper._support.escaping import escaped
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError, StoreUnavailableError
from tokenkeeper.stores.base import Claim, Record
from tokenkeeper.stores.boot import boot_id, is_same_boot
from tokenkeeper.stores.entry import UNKNOWN, Entry
from tokenkeeper.stores.runtime_directory import runtime_directory
from tokenkeeper.stores.sqlite_file import SQLiteFile

if TYPE_CHECKING:
    from tokenkeeper.stores.examination import StoreFinding

__all__ = ["SQLiteTokenStore", "auto_path"]

DROPPED_AFTER_SECONDS = 24 * 3600.0
"""How long after its token's expiry a record may be dropped, by the wall clock."""

MOST_DROPPED = 100
"""How many such records a new one removes, so that no operation takes long."""

COLUMNS = (
    "generation, lifetime_seconds, sent_at, fence, owner, claimed_at, intent, failed_at, failure, "
    "sealed"
)

LOAD = f"SELECT boot, drop_at IS NULL, {COLUMNS} FROM records WHERE key = ?"  # noqa: S608
SAVE = f"INSERT OR REPLACE INTO records (key, boot, drop_at, {COLUMNS}) VALUES ({'?, ' * 12}?)"  # noqa: S608
HAS_SEALED = "SELECT sealed IS NOT NULL FROM records WHERE key = ?"
DROP = """
DELETE FROM records WHERE key IN (
    SELECT key FROM records WHERE drop_at < ? ORDER BY drop_at LIMIT ?
)
"""


class SQLiteTokenStore:
    """A :class:`~tokenkeeper.stores.TokenStore` in an SQLite file. Thread-safe, and safe to fork.

    The file has the mode 0600, in a directory with the mode 0700; both are created if they are
    missing. A file or directory that other users can read or write is refused, and so is what is
    not a store: nothing that can't be read is overwritten.

    Nothing stays open between two operations. A forgotten token is erased from the file and from
    its write-ahead log.

    :param path: the file. A relative path is taken from the current directory of now.
    :param timeout_seconds: how long an operation waits for the locks of other processes; 1 by
        default.
    :param clock: the source of time; by default the system's clocks.
    :raises InvalidConfigurationError: if the timeout is not a positive number.
    """

    is_private = True
    """Only this user of the system can read it, so its records need no encryption."""

    def __init__(
        self, path: Path | str, *, timeout_seconds: float = 1.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self.path: Path = Path(path).absolute()
        self.timeout_seconds: float = checked_seconds(timeout_seconds, "timeout_seconds")
        self._clock = clock
        self._file = SQLiteFile(self.path, self.timeout_seconds)

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float = 1.0) -> SQLiteTokenStore:
        """Return the store of ``sqlite:///relative.db`` or ``sqlite:////absolute/path.db``.

        :raises InvalidConfigurationError: for another URL.
        """
        parts = urlsplit(url)
        path = os.fsdecode(unquote_to_bytes(parts.path[1:]))
        is_valid = parts.scheme == "sqlite" and not (parts.netloc or parts.query or parts.fragment)
        if not is_valid or not path or path.endswith("/") or path == ":memory:" or "\0" in path:
            raise InvalidConfigurationError(
                "the store's URL must be sqlite:///relative/path.db or "
                "sqlite:////absolute/path.db, without parameters",
                field="store.url",
            )
        return cls(path, timeout_seconds=timeout_seconds)

    @property
    def label(self) -> str:
        """Its URL."""
        return f"sqlite:///{quote(os.fsencode(self.path))}"

    def read(self, key: str) -> Record:
        """Return the record of *key*; an empty one if there is none."""
        with self._file.transaction() as connection:
            return self._load(connection, key).record(self._clock.monotonic())

    def claim(
        self, key: str, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Claim the right to request the next token of *key*."""
        with self._changing(key) as entry:
            return entry.claim(
                self._clock.monotonic(),
                owner=owner,
                generation=generation,
                older_than_seconds=older_than_seconds,
                intent=intent,
            )

    def publish(
        self,
        key: str,
        *,
        owner: str,
        replaces: int,
        generation: int,
        sealed: bytes,
        lifetime_seconds: float,
        age_seconds: float,
        keep: bool,
    ) -> bool:
        """Store a token if the record's generation is still *replaces*; return whether it was."""
        with self._changing(key, durable=keep) as entry:
            return entry.publish(
                self._clock.monotonic(),
                owner=owner,
                replaces=replaces,
                generation=generation,
                sealed=sealed,
                lifetime_seconds=lifetime_seconds,
                age_seconds=age_seconds,
                keep=keep,
            )

    def fail(self, key: str, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim, and share why there is no token; return whether *owner* held it."""
        with self._changing(key) as entry:
            return entry.fail(self._clock.monotonic(), owner=owner, fence=fence, sealed=sealed)

    def forget(self, key: str, *, entirely: bool = False) -> bool:
        """Remove the token and the failure of *key*; return whether there was a token."""
        if entirely:
            with self._file.transaction(writes=True, durable=True) as connection:
                # The record is not loaded, so that a damaged one can be removed.
                found = connection.execute(HAS_SEALED, (key,)).fetchone()
                had_token = found is not None and bool(found[0])
                connection.execute("DELETE FROM records WHERE key = ?", (key,))
        else:
            with self._changing(key, durable=True) as entry:
                had_token = entry.forget()
        self._file.empty_log()
        return had_token

    def keys(self) -> Iterable[str]:
        """Return the keys of all records."""
        with self._file.transaction() as connection:
            return [key for (key,) in connection.execute("SELECT key FROM records")]

    def close(self) -> None:
        """Do nothing: no connection stays open after an operation."""

    def examine(self) -> list[StoreFinding]:
        """Return what the doctor has to say about the file. It changes nothing.

        A file that does not exist yet is created.
        """
        from tokenkeeper.stores.sqlite_examination import findings

        return findings(self._file, self._clock)

    def __repr__(self) -> str:
        return f"SQLiteTokenStore({escaped(self.path)!r})"

    @contextmanager
    def _changing(self, key: str, *, durable: bool = False) -> Iterator[Entry]:
        """Yield the entry of *key*, and save it if the block changed it."""
        with self._file.transaction(writes=True, durable=durable) as connection:
            entry = self._load(connection, key)
            before = vars(entry).copy()
            yield entry
            if vars(entry) != before:
                self._save(connection, key, entry, is_new=before == vars(Entry()))

    def _load(self, connection: sqlite3.Connection, key: str) -> Entry:
        try:
            row = connection.execute(LOAD, (key,)).fetchone()
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):  # a text that is not UTF-8 has no code of its own
                raise
            raise self._damaged(key) from None
        if row is None:
            return Entry()
        boot, keep, *values = row
        entry = Entry(**dict(zip(COLUMNS.split(", "), values, strict=True)), keep=bool(keep))
        if not isinstance(boot, str) or not _is_sound(entry):
            raise self._damaged(key)
        if not is_same_boot(boot, boot_id(self._clock)):
            entry.sent_at = entry.claimed_at = entry.failed_at = UNKNOWN
        return entry

    def _damaged(self, key: str) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"{escaped(self.path)} has a damaged record. Forget it entirely: {escaped(key)}",
            is_misconfigured=True,
        )

    def _save(
        self, connection: sqlite3.Connection, key: str, entry: Entry, *, is_new: bool
    ) -> None:
        wall = self._clock.time()
        if is_new:
            connection.execute(DROP, (wall, MOST_DROPPED))
        drop_at = None
        if not entry.keep:
            left = entry.lifetime_seconds - (self._clock.monotonic() - entry.sent_at)
            drop_at = wall + DROPPED_AFTER_SECONDS + (max(0.0, left) if math.isfinite(left) else 0)
        values = [getattr(entry, name) for name in COLUMNS.split(", ")]
        connection.execute(SAVE, (key, boot_id(self._clock), drop_at, *values))


_LARGEST = 2**63 - 1
_KINDS = {
    name: (bytes, type(None)) if value is None else type(value)
    for name, value in vars(Entry()).items()
}


def _is_sound(entry: Entry) -> bool:
    """Return whether each value is of its type. A column of SQLite takes values of any type."""
    if not all(isinstance(value, _KINDS[name]) for name, value in vars(entry).items()):
        return False
    return 0 <= entry.generation < _LARGEST and 0 <= entry.fence < _LARGEST  # both still grow


def auto_path() -> Path:
    """Return the file of the store ``auto``: ``tokenkeeper/store.db`` in the runtime directory.

    :raises InvalidConfigurationError: if ``XDG_RUNTIME_DIR`` names no directory of this user's.
    """
    instead = "choose a file: sqlite:////path/to/store.db"
    try:
        directory = runtime_directory()
    except InvalidConfigurationError as error:
        raise InvalidConfigurationError(
            f"the store's URL 'auto' can't use XDG_RUNTIME_DIR: {error}. Or {instead}",
            field="store.url",
        ) from None
    if directory is None:
        raise InvalidConfigurationError(
            "the store's URL 'auto' needs XDG_RUNTIME_DIR, which names no directory. "
            f"Set it, or {instead}",
            field="store.url",
        )
    return directory / "tokenkeeper" / "store.db"
