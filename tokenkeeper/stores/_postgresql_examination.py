"""Examines a store in PostgreSQL for the doctor."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores._postgresql_database import Database, Inspection
from tokenkeeper.stores._postgresql_statements import Statements
from tokenkeeper.stores.base import TokenStore
from tokenkeeper.stores.examination import StoreFinding

__all__ = ["examine"]

LARGEST_DIFFERENCE_SECONDS = 5.0
"""Clocks that are further apart than this are reported."""

LARGEST_SHARE = 0.8
"""The share of max_connections above which a pooler is recommended."""


class _Facts(NamedTuple):
    """What the server said about itself: the columns of ``Statements.facts``."""

    version: str
    role: str
    now: float
    backend_pid: int
    is_replica: bool
    is_read_only: bool
    connections: int
    max_connections: int
    has_table: bool
    may_use_table: bool | None
    may_create_table: bool | None


def examine(store: TokenStore, database: Database, statements: Statements) -> list[StoreFinding]:
    """Return what is and what is not in order."""
    try:
        inspection = database.inspect(statements.facts)
    except StoreUnavailableError as error:
        return [StoreFinding("reachable", "problem", str(error))]
    facts = _Facts(*inspection.row)
    findings = [
        StoreFinding("reachable", "ok", f"PostgreSQL {facts.version}, as the user {facts.role}"),
        _encryption(inspection),
        _clock(facts.now - inspection.asked_at),
        _connections(facts),
        _pooler(inspection, facts),
    ]
    return findings + list(_table(store, facts, statements))


def _table(store: TokenStore, facts: _Facts, statements: Statements) -> Iterator[StoreFinding]:
    if facts.is_replica or facts.is_read_only:
        what = "a replica" if facts.is_replica else "read-only"
        yield StoreFinding(
            "writable",
            "problem",
            f"the server is {what}",
            "connect to the primary, for example with all hosts and "
            "target_session_attrs=read-write",
        )
    elif not facts.has_table:
        if facts.may_create_table:
            yield StoreFinding("table", "ok", f"{statements.table} will be created when it is used")
        else:
            yield StoreFinding(
                "table",
                "problem",
                f"{statements.table} is missing, and {facts.role} may not create it",
                f"as an administrator, run: {statements.setup_for(facts.role)}",
            )
    elif not facts.may_use_table:
        yield StoreFinding(
            "permissions",
            "problem",
            f"{facts.role} may not use {statements.table}",
            f"as the table's owner, run: {statements.grant_for(facts.role)}",
        )
    else:
        yield _probe(store, statements)


def _probe(store: TokenStore, statements: Statements) -> StoreFinding:
    """Add a record and remove it."""
    key, owner = f"examination-{secrets.token_hex(8)}", secrets.token_hex(8)
    try:
        try:
            store.claim(key, owner=owner, generation=0, older_than_seconds=0, intent="examine")
        finally:
            was_claimed = store.read(key).owner == owner
            store.forget(key, entirely=True)
    except StoreUnavailableError as error:
        return StoreFinding("writable", "problem", str(error))
    if not was_claimed:
        return StoreFinding("writable", "problem", f"{statements.table} did not keep a record")
    return StoreFinding("writable", "ok", f"a record was added to {statements.table} and removed")


def _encryption(inspection: Inspection) -> StoreFinding:
    if _is_local(inspection.host):
        return StoreFinding("encryption", "ok", "the server is on this machine")
    if not inspection.is_encrypted:
        return StoreFinding(
            "encryption",
            "problem",
            "the connection is not encrypted, so the password and the records can be read",
            "add sslmode=verify-full and sslrootcert to the URL",
        )
    if inspection.sslmode not in ("verify-ca", "verify-full"):
        return StoreFinding(
            "encryption",
            "warning",
            f"the connection is encrypted, but sslmode={inspection.sslmode} accepts any "
            "certificate",
            "add sslmode=verify-full and sslrootcert to the URL",
        )
    return StoreFinding("encryption", "ok", f"TLS with sslmode={inspection.sslmode}")


def _is_local(host: str) -> bool:
    """Return whether *host* is a path of a socket, or on this machine."""
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host.startswith(("/", "@")) or host in ("", "localhost")


def _clock(difference: float) -> StoreFinding:
    if abs(difference) <= LARGEST_DIFFERENCE_SECONDS:
        return StoreFinding("clock", "ok", "the server's clock agrees with this machine's")
    what = "ahead of" if difference > 0 else "behind"
    return StoreFinding(
        "clock",
        "warning",
        f"the server's clock is {abs(difference):.0f} s {what} this machine's",
        "synchronize both with NTP: tokens may be renewed early",
    )


def _connections(facts: _Facts) -> StoreFinding:
    used = f"{facts.connections} of {facts.max_connections} connections are in use"
    if facts.connections <= LARGEST_SHARE * facts.max_connections:
        return StoreFinding("connections", "ok", used)
    return StoreFinding(
        "connections", "warning", used, "put PgBouncer in front of the server, or raise the limit"
    )


def _pooler(inspection: Inspection, facts: _Facts) -> StoreFinding:
    # A pooler makes up the process id, which it needs to cancel statements.
    if inspection.backend_pid == facts.backend_pid:
        return StoreFinding("pooler", "ok", "connected without a pooler")
    return StoreFinding("pooler", "ok", "connected through a pooler, such as PgBouncer")
