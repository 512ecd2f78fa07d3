"""The SQL of the store in PostgreSQL: a table, and one statement for each operation.

Each statement is a transaction of its own, so a pooler may send the next one to another server
process. All are correct in READ COMMITTED: PostgreSQL locks the row, and evaluates the conditions
and the new values for its latest version.

``statement_timestamp()`` is the store's clock. It is the server's time when the statement arrived,
and the same in all parts of a statement, so that two conditions can't contradict each other. A
statement that waits for a row records an earlier time than ``clock_timestamp()`` would: what it
writes looks older by that wait, never younger.
"""

# ruff: noqa: S608 - the table's name is checked and quoted, and everything else is a parameter
from __future__ import annotations

import re

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["DEFAULT_TABLE", "SCHEMA", "Statements", "quoted"]

DEFAULT_TABLE = "tokenkeeper_records"

SCHEMA = 1
"""The version of the table. Each statement mentions the column ``schema_1``. A release that changes
what a column means renames it, and older processes then fail before they do any harm."""

_NOW = "extract(epoch FROM statement_timestamp())::float8"

# The second index is for the cleanup. Claims and failures leave its columns unchanged.
_DDL = """
CREATE TABLE IF NOT EXISTS {table} (
    key text COLLATE "C" PRIMARY KEY,
    schema_1 boolean NOT NULL DEFAULT true,
    generation bigint NOT NULL DEFAULT 0,
    sealed bytea,
    lifetime_seconds float8 NOT NULL DEFAULT 0,
    sent_at float8,
    fence bigint NOT NULL DEFAULT 0,
    owner text NOT NULL DEFAULT '',
    claimed_at float8,
    intent text NOT NULL DEFAULT '',
    taken_from text NOT NULL DEFAULT '',
    taken_intent text NOT NULL DEFAULT '',
    failure bytea,
    failed_at float8,
    expires_at float8 NOT NULL,
    UNIQUE (expires_at, key)
) WITH (fillfactor = 80)
"""

_RECORD = (
    "r.generation, r.sealed, r.lifetime_seconds, r.sent_at, r.fence, r.owner, r.claimed_at,"
    f" r.intent, r.failure, r.failed_at, {_NOW}"
)

_READ = f"SELECT {_RECORD} FROM {{table}} AS r WHERE r.key = $1::text AND r.schema_1"

# $1 key, $2 owner, $3 generation, $4 how old another's claim must be, $5 intent
#
# RETURNING has no access to a row's old values before PostgreSQL 18. So a refused claim updates the
# row as well, and a granted one records whom it was taken from. A claim from the future begins
# again: the clock was set back, and the claim's holder may be about to spend a refresh token.
_CLAIM_CHANGES = f"""
(fence, owner, intent, claimed_at, taken_from, taken_intent) = (
    SELECT
        CASE WHEN c.granted THEN r.fence + 1 ELSE r.fence END,
        CASE WHEN c.granted THEN $2::text ELSE r.owner END,
        CASE WHEN c.granted THEN $5::text ELSE r.intent END,
        CASE WHEN c.granted OR r.claimed_at > c.now THEN c.now ELSE r.claimed_at END,
        CASE WHEN c.granted AND r.owner <> $2::text THEN r.owner ELSE '' END,
        CASE WHEN c.granted AND r.owner <> $2::text THEN r.intent ELSE '' END
    FROM (
        SELECT n.now, r.generation = $3::bigint AND (
            r.owner IN ('', $2::text) OR greatest(0, n.now - r.claimed_at) >= $4::float8
        ) AS granted
        FROM (SELECT {_NOW} AS now) AS n OFFSET 0
    ) AS c
)
"""

# A claim leaves the generation as it was, and an owner's own is always granted again.
_CLAIM_ANSWER = (
    f"RETURNING r.generation = $3::bigint AND r.owner = $2::text AS granted, {_RECORD},"
    " r.taken_from, r.taken_intent"
)

_CLAIM_FIRST = f"""
INSERT INTO {{table}} AS r (key, schema_1, fence, owner, claimed_at, intent, expires_at)
VALUES ($1::text, true, 1, $2::text, {_NOW}, $5::text, {_NOW} + 86400)
ON CONFLICT (key) DO UPDATE SET {_CLAIM_CHANGES} WHERE r.schema_1 {_CLAIM_ANSWER}
"""

_CLAIM_NEXT = (
    f"UPDATE {{table}} AS r SET {_CLAIM_CHANGES} WHERE r.key = $1::text AND r.schema_1"
    f" {_CLAIM_ANSWER}"
)

# $1 key, $2 owner, $3 replaces, $4 generation, $5 sealed, $6 lifetime, $7 age, $8 keep
_EXPIRY = f"CASE WHEN $8::boolean THEN 'Infinity' ELSE {_NOW} + $6::float8 END"

_PUBLISH_CHANGES = f"""
    generation = $4::bigint, sealed = $5::bytea, lifetime_seconds = $6::float8,
    sent_at = {_NOW} - $7::float8, expires_at = {_EXPIRY}, failure = NULL, failed_at = NULL,
    intent = CASE WHEN r.owner = $2::text THEN '' ELSE r.intent END,
    claimed_at = CASE WHEN r.owner = $2::text THEN NULL ELSE r.claimed_at END,
    owner = CASE WHEN r.owner = $2::text THEN '' ELSE r.owner END
"""

_PUBLISH_FIRST = f"""
INSERT INTO {{table}} AS r
    (key, schema_1, generation, sealed, lifetime_seconds, sent_at, expires_at)
VALUES ($1::text, true, $4::bigint, $5::bytea, $6::float8, {_NOW} - $7::float8, {_EXPIRY})
ON CONFLICT (key) DO UPDATE SET {_PUBLISH_CHANGES}
WHERE r.generation = $3::bigint AND r.schema_1 RETURNING true
"""

_PUBLISH_NEXT = (
    f"UPDATE {{table}} AS r SET {_PUBLISH_CHANGES}"
    " WHERE r.key = $1::text AND r.generation = $3::bigint AND r.schema_1 RETURNING true"
)

# $1 key, $2 owner, $3 fence, $4 sealed failure or NULL
_FAIL = f"""
UPDATE {{table}} AS r SET owner = '', intent = '', claimed_at = NULL,
    failure = coalesce($4::bytea, r.failure),
    failed_at = CASE WHEN $4::bytea IS NULL THEN r.failed_at ELSE {_NOW} END
WHERE r.key = $1::text AND r.owner = $2::text AND r.owner <> '' AND r.fence = $3::bigint
    AND r.schema_1
RETURNING true
"""

_FORGOTTEN = (
    "generation = r.generation + 1, sealed = NULL, lifetime_seconds = 0, sent_at = NULL,"
    " failure = NULL, failed_at = NULL"
)

# Two updates, of which one applies: with a token, and with a failure alone.
_FORGET = f"""
WITH token AS (
    UPDATE {{table}} AS r SET {_FORGOTTEN}
    WHERE r.key = $1::text AND r.schema_1 AND r.sealed IS NOT NULL RETURNING 1
), failure AS (
    UPDATE {{table}} AS r SET {_FORGOTTEN}
    WHERE r.key = $1::text AND r.schema_1 AND r.sealed IS NULL AND r.failure IS NOT NULL
    RETURNING 1
)
SELECT EXISTS (SELECT FROM token)
"""

_DELETE = (
    "DELETE FROM {table} AS r WHERE r.key = $1::text AND r.schema_1 RETURNING r.sealed IS NOT NULL"
)

_CLEAN_UP = f"""
DELETE FROM {{table}} WHERE key IN (
    SELECT r.key FROM {{table}} AS r
    WHERE r.schema_1 AND r.expires_at < {_NOW} - 3600
        AND (r.owner = '' OR r.claimed_at < {_NOW} - 3600)
    LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""

_NAME = re.compile(r"[^\W\d][\w$]{0,62}")


def quoted(name: str) -> str:
    """Return *name* as an identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


class Statements:
    """The statements for one table. Immutable.

    :ivar table: the table as it is written in SQL.
    :param table: ``name`` or ``schema.name``, in the case that it has in the catalog.
    :raises InvalidConfigurationError: if it is not a name.
    """

    def __init__(self, table: str = DEFAULT_TABLE) -> None:
        parts = table.split(".") if isinstance(table, str) else []
        is_valid = len(parts) in (1, 2) and all(map(_NAME.fullmatch, parts))
        if not is_valid or any(len(part.encode()) > 63 for part in parts):
            raise InvalidConfigurationError(
                "the table of the store must be a name, or schema.name, with letters, digits and _",
                field="store.url",
            )
        self.table = ".".join(map(quoted, parts))
        self.name = parts[-1]
        self.schema = parts[0] if len(parts) == 2 else ""
        self.create_table = self._for_table(_DDL)
        self.read = self._for_table(_READ)
        self.claim_first = self._for_table(_CLAIM_FIRST)
        self.claim_next = self._for_table(_CLAIM_NEXT)
        self.publish_first = self._for_table(_PUBLISH_FIRST)
        self.publish_next = self._for_table(_PUBLISH_NEXT)
        self.fail = self._for_table(_FAIL)
        self.forget = self._for_table(_FORGET)
        self.delete = self._for_table(_DELETE)
        self.clean_up = self._for_table(_CLEAN_UP)
        self.keys = self._for_table("SELECT r.key FROM {table} AS r WHERE r.schema_1")
        self.columns = (
            "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid ="
            f" to_regclass('{self.table}') AND attnum > 0 AND NOT attisdropped"
        )

        # Sessions of all databases count. pg_stat_activity would hide those of other users.
        self.facts = f"""
            SELECT current_setting('server_version'), current_user::text, {_NOW},
                pg_backend_pid()::int8, pg_is_in_recovery(),
                current_setting('transaction_read_only') = 'on',
                (SELECT sum(numbackends) FROM pg_stat_database)::int8,
                current_setting('max_connections')::int8,
                to_regclass('{self.table}') IS NOT NULL,
                {self._all_privileges()},
                has_schema_privilege({self._own_schema()}, 'CREATE')
        """

    def _all_privileges(self) -> str:
        wanted = ("SELECT", "INSERT", "UPDATE", "DELETE")
        table = f"to_regclass('{self.table}')"
        return " AND ".join(f"has_table_privilege({table}, '{each}')" for each in wanted)

    def _own_schema(self) -> str:
        name = f"'{quoted(self.schema)}'" if self.schema else "quote_ident(current_schema())"
        return f"to_regnamespace({name})"

    def setup_for(self, role: str) -> str:
        """Return what an administrator runs so that *role* can use the table, in one line."""
        schema = f"CREATE SCHEMA IF NOT EXISTS {quoted(self.schema)}; " if self.schema else ""
        return f"{schema}{self.create_table}; {self.grant_for(role)}"

    def grant_for(self, role: str) -> str:
        """Return the statements that let *role* use the table, in one line."""
        to = f"TO {quoted(role)};"
        schema = f"GRANT USAGE ON SCHEMA {quoted(self.schema)} {to} " if self.schema else ""
        return f"{schema}GRANT SELECT, INSERT, UPDATE, DELETE ON {self.table} {to}"

    def _for_table(self, statement: str) -> str:
        return " ".join(statement.format(table=self.table).split())
