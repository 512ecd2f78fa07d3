"""Performs the statements of a store: on a connection that works, in a table that exists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import psycopg

from tokenkeeper._runtime.fork import notice_fork
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores._postgresql_connections import Connections, TimedOutError
from tokenkeeper.stores._postgresql_errors import Explainer
from tokenkeeper.stores._postgresql_execution import (
    LostError,
    Parameters,
    RefusedError,
    Row,
    perform,
)
from tokenkeeper.stores._postgresql_statements import SCHEMA, Statements

__all__ = ["Answer", "Database", "Inspection"]

_NO_TABLE = "42P01"
_READ_ONLY = "25006"
_NOT_PERMITTED = "42501"
_NO_SCHEMA = "3F000"

_CREATED_MEANWHILE = {"23505", "42P07", "42710"}
"""What CREATE TABLE IF NOT EXISTS fails with if another session creates the table just then."""

_WORTH_REPEATING = {"40001", "40P01", "57P01", "57P02"}
"""A conflict of transactions that are stricter than READ COMMITTED, a deadlock, a restart."""

_OTHER_COLUMNS = {"0A000", "22P02", "23502", "42703", "42804", "42809", "42883", "42P10", "55000"}
"""What statements fail with if the table has other columns, or is a view."""


class Answer(NamedTuple):
    """What a statement returned.

    :ivar was_repeated: whether it was sent twice, and may have been performed twice.
    """

    rows: list[Row]
    was_repeated: bool = False


class Inspection(NamedTuple):
    """A row, and the connection that it came through.

    :ivar asked_at: this machine's wall clock when the server was asked.
    :ivar backend_pid: the server process that the connection claims to be connected to.
    """

    row: Row
    asked_at: float
    backend_pid: int
    host: str
    is_encrypted: bool
    sslmode: str


class Database:
    """A database with the table of a store. Thread-safe, and usable after a fork.

    :param connect: returns a new connection; called on a thread of its own.
    :param timeout_seconds: how long an operation may take, connecting included.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        explainer: Explainer,
        statements: Statements,
        timeout_seconds: float,
    ) -> None:
        self._explainer = explainer
        self._statements = statements
        self._timeout_seconds = timeout_seconds
        self._connections = Connections(connect, explainer.connecting)

    def perform(self, statement: str, parameters: Parameters = ()) -> Answer:
        """Perform *statement*, and once more if the connection was lost before its answer.

        A missing table is created.

        :raises StoreUnavailableError: if it can't be done in time.
        """
        notice_fork()
        deadline = SYSTEM_CLOCK.monotonic() + self._timeout_seconds
        try:
            return self._perform_until(deadline, statement, parameters)
        except TimedOutError:
            raise self._explainer.timed_out(self._timeout_seconds) from None

    def inspect(self, statement: str) -> Inspection:
        """Return the only row of *statement*, and facts about the connection that it used.

        :raises StoreUnavailableError: if it can't be done in time.
        """
        notice_fork()
        deadline = SYSTEM_CLOCK.monotonic() + self._timeout_seconds
        try:
            with self._connection(deadline) as connection:
                began = SYSTEM_CLOCK.time()
                (row,) = perform(connection, statement, (), deadline)
                middle = (began + SYSTEM_CLOCK.time()) / 2
                info, pgconn = connection.info, connection.pgconn
                return Inspection(
                    row=row,
                    asked_at=middle,
                    backend_pid=pgconn.backend_pid,
                    host=info.host,
                    is_encrypted=bool(pgconn.ssl_in_use),
                    sslmode=info.get_parameters().get("sslmode", "prefer"),
                )
        except TimedOutError:
            raise self._explainer.timed_out(self._timeout_seconds) from None
        except LostError as error:
            raise self._explainer.lost(error) from None
        except RefusedError as error:
            raise self._explained(error, deadline) from None

    def close(self) -> None:
        """Close the connections. New ones are opened when they are needed."""
        notice_fork()
        self._connections.close()

    def _perform_until(self, deadline: float, statement: str, parameters: Parameters) -> Answer:
        was_repeated = was_created = False
        while True:
            try:
                return Answer(self._perform_once(deadline, statement, parameters), was_repeated)
            except LostError as error:
                if was_repeated:
                    raise self._explainer.lost(error) from None
                was_repeated = True
            except RefusedError as error:
                if error.sqlstate == _NO_TABLE and not was_created:
                    self._create_table(deadline)
                    was_created = True
                elif error.is_repeatable and not was_repeated:
                    was_repeated = True
                else:
                    raise self._explained(error, deadline) from None

    def _perform_once(self, deadline: float, statement: str, parameters: Parameters) -> list[Row]:
        with self._connection(deadline) as connection:
            return perform(connection, statement, parameters, deadline)

    @contextmanager
    def _connection(self, deadline: float) -> Iterator[psycopg.Connection[Any]]:
        """Lend a connection to the block, and keep it if it still works afterwards."""
        session = self._connections.take(deadline)
        try:
            yield session.connection
        except TimedOutError:
            self._connections.abandon(session)
            raise
        except RefusedError as error:
            is_read_only = error.sqlstate == _READ_ONLY
            # The primary may be another server by now, and an unused connection does not show it.
            error.is_repeatable = error.sqlstate in _WORTH_REPEATING or (
                is_read_only and session.was_used
            )
            if error.is_fatal or is_read_only:
                self._connections.drop(session)
            else:
                self._connections.give_back(session)
            raise
        except BaseException:
            self._connections.drop(session)  # its state is unknown
            raise
        self._connections.give_back(session)

    def _create_table(self, deadline: float) -> None:
        try:
            self._perform_once(deadline, self._statements.create_table, ())
        except LostError as error:
            raise self._explainer.lost(error) from None
        except RefusedError as error:
            if error.sqlstate in (_NOT_PERMITTED, _NO_SCHEMA):
                setup = self._statements.setup_for(error.role)
                raise self._explainer.no_table(error, setup) from None
            if error.sqlstate not in _CREATED_MEANWHILE:
                raise self._explained(error, deadline) from None

    def _explained(self, error: RefusedError, deadline: float) -> StoreUnavailableError:
        if error.sqlstate == _NOT_PERMITTED:
            return self._explainer.not_permitted(error, self._statements.grant_for(error.role))
        if error.sqlstate in _OTHER_COLUMNS:
            try:
                rows = self._perform_once(deadline, self._statements.columns, ())
            except (LostError, RefusedError):
                rows = []
            if rows:
                columns = [name for (name,) in rows]
                return self._explainer.other_table(self._statements.table, columns, SCHEMA)
        return self._explainer.refused(error.sqlstate, error)
