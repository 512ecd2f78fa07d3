"""What the doctor has to say about the file of a store."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from tokenkeeper._support.escaping import escaped
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.boot import boot_id, is_derived
from tokenkeeper.stores.examination import StoreFinding
from tokenkeeper.stores.sqlite_file import SCHEMA_VERSION, SIDE_FILES, SQLiteFile

__all__ = ["findings"]

LEAST_FREE_BYTES = 10_000_000
"""With less free space, the disk is about to be full."""


def findings(file: SQLiteFile, clock: Clock) -> list[StoreFinding]:
    """Return what there is to say about *file*. If it can't be read, that is all."""
    place = escaped(file.path)
    try:
        with file.transaction() as connection:
            ((count,),) = connection.execute("SELECT count(*) FROM records")
            ((mode,),) = connection.execute("PRAGMA journal_mode")
            damage = [str(each) for (each,) in connection.execute("PRAGMA quick_check(1)")]
    except StoreUnavailableError as error:
        return [_refused("reachable", error)]
    return [
        StoreFinding("reachable", "ok", f"{place} has {count} record{'s' * (count != 1)}"),
        _writable(file),
        StoreFinding("permissions", "ok", f"only you can use {place} and its directory"),
        *_content(str(mode), damage, place),
        StoreFinding("schema", "ok", f"its schema has the version {SCHEMA_VERSION}"),
        _clock(clock),
        _space(file),
    ]


def _refused(check: str, error: StoreUnavailableError) -> StoreFinding:
    what, _, advice = str(error).partition(". ")
    return StoreFinding(check, "problem", what, advice)


def _writable(file: SQLiteFile) -> StoreFinding:
    try:
        with file.transaction(writes=True) as connection:
            connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")  # as it was before
    except StoreUnavailableError as error:
        return _refused("writable", error)
    return StoreFinding("writable", "ok", "a transaction can write to it")


def _content(mode: str, damage: list[str], place: str) -> Iterator[StoreFinding]:
    if damage == ["ok"]:
        yield StoreFinding("content", "ok", "it is not damaged")
    else:
        yield StoreFinding(
            "content",
            "problem",
            f"{place} is damaged: {escaped(' '.join(damage))}",
            f"Move it away, with its {' and '.join(SIDE_FILES)}; a new one is created",
        )
    if mode == "wal":
        yield StoreFinding("journal", "ok", "it has a write-ahead log")
    else:
        yield StoreFinding(
            "journal",
            "warning",
            f"its journal mode is {mode}, in which readers and writers wait for each other",
            f"Run: sqlite3 {place} 'PRAGMA journal_mode = WAL'",
        )


def _clock(clock: Clock) -> StoreFinding:
    boot = boot_id(clock)
    if is_derived(boot):
        return StoreFinding(
            "clock",
            "warning",
            "this system has no boot id, so a wall clock that is set makes stored tokens look old",
            "Keep the clock synchronized",
        )
    return StoreFinding("clock", "ok", f"boot {boot}, up for {clock.monotonic():.0f} s")


def _space(file: SQLiteFile) -> StoreFinding:
    try:
        free = shutil.disk_usage(file.path.parent).free
        size = os.stat(file.path).st_size
    except OSError as error:
        return StoreFinding("space", "warning", f"the free space is unknown: {error.strerror}")
    message = f"{free // 1_000_000} MB are free; the file has {size // 1000} kB"
    if free < LEAST_FREE_BYTES:
        return StoreFinding("space", "warning", message, "Free some space")
    return StoreFinding("space", "ok", message)
