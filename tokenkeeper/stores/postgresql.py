"""A store in PostgreSQL, for fleets that have one: ``postgresql://host/database``."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from math import ceil
from typing import Any, ClassVar
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tokenkeeper._support.checks import checked_seconds
from tokenkeeper._support.escaping import escaped
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, StoreUnavailableError
from tokenkeeper.stores._postgresql_database import Database
from tokenkeeper.stores._postgresql_errors import Explainer
from tokenkeeper.stores._postgresql_examination import examine
from tokenkeeper.stores._postgresql_execution import Parameter
from tokenkeeper.stores._postgresql_statements import DEFAULT_TABLE, Statements
from tokenkeeper.stores.base import NO_RECORD, Claim, Record, SharedFailure
from tokenkeeper.stores.examination import StoreFinding

__all__ = ["PostgreSQLTokenStore"]

_INFINITE = float("inf")

_STEP_SECONDS = 1.0
"""A moment that is further in the future than this proves that the server's clock was set back.
Time services correct a clock by less than that at once."""


class PostgreSQLTokenStore:
    """A :class:`~tokenkeeper.stores.TokenStore` in one table of a PostgreSQL database.

    The table is created if it is missing and that is permitted; otherwise the error has the
    statements that an administrator runs. Each operation is one statement in a transaction of its
    own. It works through PgBouncer in any mode of pooling.

    A process has at most four connections, usually one, and none once the store was idle for ten
    seconds. Thread-safe. A forked child opens connections of its own.

    Ages are measured by the server's clock. Where that was set back by more than a second since a
    token or a failure was stored, its age is infinite, and a claim's age starts over at 0. A clock
    that was set forward makes all ages greater. Neither makes a token look younger than it is,
    with one exception: nothing shows a step that is shorter than the age.

    :param conninfo: a URL or a connection string of libpq. What it lacks comes from the variables
        ``PGHOST`` and so on, and from libpq's password file.
    :param connect: used instead of *conninfo*: returns a new connection, such as
        ``partial(connection_class(source).connect, conninfo, autocommit=True)`` with
        :func:`tokenkeeper.integrations.psycopg.connection_class`, whose password is a token.
        Called on a thread of its own.
    :param table: the table as ``name`` or ``schema.name``; ``tokenkeeper_records`` by default.
    :param timeout_seconds: how long an operation may take, connecting included; 1 by default.
    :raises InvalidConfigurationError: if an argument is not valid.
    """

    is_private: ClassVar[bool] = False

    def __init__(
        self,
        conninfo: str | None = None,
        *,
        connect: Callable[[], psycopg.Connection[Any]] | None = None,
        table: str = DEFAULT_TABLE,
        timeout_seconds: float = 1.0,
    ) -> None:
        if (conninfo is None) == (connect is None):
            raise InvalidConfigurationError("the store needs either conninfo or connect")
        timeout_seconds = checked_seconds(timeout_seconds, "timeout_seconds")
        self._statements = Statements(table)
        self._label, hidden = "postgresql", [""]
        if conninfo is not None:
            parameters = _parsed(conninfo)
            self._label = _label_of(parameters)
            hidden = [parameters.get(name, "") for name in ("password", "sslpassword")]
            connect = partial(_connect, Hidden(_complete(parameters, timeout_seconds)))
        if connect is None or not callable(connect):
            raise InvalidConfigurationError("connect must be a function that returns a connection")
        if table != DEFAULT_TABLE:
            self._label += f"?table={table}"
        explainer = Explainer(self._label, [each for each in hidden if each])
        self._database = Database(connect, explainer, self._statements, timeout_seconds)

    @classmethod
    def from_url(cls, url: str, *, timeout_seconds: float = 1.0) -> PostgreSQLTokenStore:
        """Return the store for *url*, without connecting.

        :param url: ``postgresql://user@host:port/database?table=schema.name``. All other parameters
            are libpq's, such as ``sslmode``.
        :raises InvalidConfigurationError: if the URL is not valid.
        """
        place, _, query = url.partition("?")
        parameters = [each for each in query.split("&") if each]
        tables = [unquote(each[6:]) for each in parameters if each.startswith("table=")]
        rest = "&".join(each for each in parameters if not each.startswith("table="))
        table = tables[-1] if tables else DEFAULT_TABLE
        return cls(f"{place}?{rest}", table=table, timeout_seconds=timeout_seconds)

    @property
    def label(self) -> str:
        """The URL without a password."""
        return self._label

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._label!r})"

    def read(self, key: str) -> Record:
        """Return the record of *key*; an empty one if there is none."""
        rows = self._database.perform(self._statements.read, (key,)).rows
        return _record(rows[0]) if rows else NO_RECORD

    def claim(
        self, key: str, *, owner: str, generation: int, older_than_seconds: float, intent: str
    ) -> Claim:
        """Claim the right to request the next token of *key*."""
        known = self._statements
        statement = known.claim_next if generation else known.claim_first
        parameters = (key, owner, generation, float(older_than_seconds), intent)
        rows = self._database.perform(statement, parameters).rows
        if not rows:
            return Claim(False, NO_RECORD)
        granted, *members, taken_from, taken_intent = rows[0]
        taken = (taken_from, taken_intent) if granted else ("", "")
        return Claim(granted, _record(members), *taken)

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
        known = self._statements
        began = SYSTEM_CLOCK.monotonic()

        def parameters() -> Sequence[Parameter]:
            # The request becomes older while a connection is opened.
            age = age_seconds + SYSTEM_CLOCK.monotonic() - began
            return (key, owner, replaces, generation, sealed, float(lifetime_seconds), age, keep)

        statement = known.publish_next if replaces else known.publish_first
        rows, was_repeated = self._database.perform(statement, parameters)
        if rows and _is_time_to_clean_up():
            with suppress(StoreUnavailableError):  # the token is stored, which is what counts
                self._database.perform(known.clean_up)
        if rows or not was_repeated:
            return bool(rows)
        # The first attempt may have stored it, although its answer was lost.
        record = self.read(key)
        return (record.generation, record.sealed) == (generation, bytes(sealed))

    def fail(self, key: str, *, owner: str, fence: int, sealed: bytes | None) -> bool:
        """Release the claim, and share why there is no token; return whether *owner* held it."""
        parameters = (key, owner, fence, sealed)
        rows, was_repeated = self._database.perform(self._statements.fail, parameters)
        if rows or not was_repeated:
            return bool(rows)
        record = self.read(key)
        shared = record.failure.sealed if record.failure else None
        return (record.owner, record.fence) == ("", fence) and sealed in (None, shared)

    def forget(self, key: str, *, entirely: bool = False) -> bool:
        """Remove the token and the failure of *key*; return whether there was a token."""
        known = self._statements
        statement = known.delete if entirely else known.forget
        rows = self._database.perform(statement, (key,)).rows
        return bool(rows and rows[0][0])

    def keys(self) -> Iterable[str]:
        """Return the keys of all records."""
        return [key for (key,) in self._database.perform(self._statements.keys).rows]

    def close(self) -> None:
        """Close connections. The store may be used again, and then opens new ones."""
        self._database.close()

    def examine(self) -> list[StoreFinding]:
        """Return what is and what is not in order, for the doctor. It adds and removes a record."""
        return examine(self, self._database, self._statements)


def _record(members: Sequence[Any]) -> Record:
    generation, sealed, lifetime, sent, fence, owner, claimed, intent, failure, failed, now = (
        members
    )
    return Record(
        generation=generation,
        sealed=sealed,
        lifetime_seconds=lifetime,
        age_seconds=_age(sent, now),
        fence=fence,
        owner=owner,
        # That of a claim from the future is 0: its holder may be about to spend a refresh token.
        claim_age_seconds=_INFINITE if claimed is None else max(0.0, now - claimed),
        intent=intent,
        failure=None if failure is None else SharedFailure(failure, _age(failed, now)),
    )


def _age(moment: float | None, now: float) -> float:
    """Return how long ago *moment* was; infinite if that is unknown."""
    if moment is None or not moment <= now + _STEP_SECONDS:  # nor NaN, which a table may contain
        return _INFINITE
    return max(0.0, now - moment)


def _is_time_to_clean_up() -> bool:
    """Return ``True`` once in a hundred times."""
    return secrets.randbelow(100) == 0


def _parsed(conninfo: str) -> dict[str, str]:
    try:
        found = conninfo_to_dict(conninfo)
    except psycopg.Error:  # whose message quotes what it did not understand, such as a password
        raise InvalidConfigurationError(
            "the store's URL is not valid for PostgreSQL. Percent-encode special characters of the "
            "user and the password, and check the names of the parameters after the ?",
            field="store.url",
        ) from None
    return {name: str(value) for name, value in found.items() if value is not None}


def _label_of(parameters: dict[str, str]) -> str:
    """Return a URL with what says where the store is."""
    hosts = (parameters.get("host") or parameters.get("hostaddr") or "").split(",")
    ports = parameters.get("port", "").split(",")
    ports = ports if len(ports) == len(hosts) else ports[:1] * len(hosts)
    places = ",".join(
        f"{host}:{port}" if port else host for host, port in zip(hosts, ports, strict=True)
    )
    user = f"{parameters['user']}@" if "user" in parameters else ""
    return escaped(f"postgresql://{user}{places}/{parameters.get('dbname', '')}")


def _complete(parameters: dict[str, str], timeout_seconds: float) -> str:
    """Return a connection string with what a store needs and *parameters* lack."""
    # The caller's limit is kept elsewhere. These end the thread that connects, and the kernel's
    # efforts to send. libpq wants whole seconds, at least 2.
    seconds = min(max(2, ceil(timeout_seconds)), 3600)
    own = {
        "fallback_application_name": "tokenkeeper",
        "client_encoding": "UTF8",
        "connect_timeout": str(seconds),
        "tcp_user_timeout": str(seconds * 1000),
    }
    return make_conninfo(**{**own, **parameters})


def _connect(conninfo: Hidden[str]) -> psycopg.Connection[Any]:
    return psycopg.connect(conninfo.text, autocommit=True, prepare_threshold=None)
