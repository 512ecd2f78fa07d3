"""Performs one statement on a connection, until a deadline.

``psycopg``'s cursors wait for the server without a limit, and ``statement_timeout`` needs a server
that is alive and a session of its own, which a pooler does not have. So this drives libpq through
``psycopg.pq``: send, wait for the socket until the deadline, receive. The statement is not
prepared, and is sent with its parameters in one round trip.
"""

from __future__ import annotations

import selectors
import struct
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.stores._postgresql_connections import TimedOutError

__all__ = ["LostError", "Parameter", "Parameters", "RefusedError", "Row", "perform"]

Parameter = str | bytes | int | float | bool | None
Parameters = Sequence[Parameter] | Callable[[], Sequence[Parameter]]
"""The parameters of a statement, or a function that returns them when it is sent."""

Row = tuple[Any, ...]

_LONGEST_WAIT_SECONDS = 86400.0
"""Selectors count milliseconds in 32 bits."""

_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)

# By type oid, from the binary format, which no setting of a session such as bytea_output changes.
_DECODERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda value: value != b"\0",
    17: bytes,
    20: lambda value: int.from_bytes(value, "big", signed=True),
    23: lambda value: int.from_bytes(value, "big", signed=True),
    25: lambda value: value.decode("utf-8", "replace"),
    701: lambda value: struct.unpack("!d", value)[0],
}


class LostError(Exception):
    """The connection ended before the answer. Whether the statement was performed is unknown."""


class RefusedError(Exception):
    """The server refused the statement, which therefore had no effect.

    :ivar sqlstate: its code.
    :ivar is_fatal: whether the server ended the connection.
    :ivar role: the user that the connection belongs to.
    :ivar is_repeatable: whether the caller may try again on another connection.
    """

    def __init__(self, message: str, sqlstate: str, is_fatal: bool, role: str) -> None:
        super().__init__(message)
        self.sqlstate = sqlstate
        self.is_fatal = is_fatal
        self.role = role
        self.is_repeatable = False


def perform(
    connection: psycopg.Connection[Any],
    statement: str,
    parameters: Parameters,
    deadline: float,
) -> list[Row]:
    """Return the rows of *statement*. After any error but :class:`RefusedError`, close.

    :param deadline: when to give up, on the monotonic clock.
    """
    pgconn = connection.pgconn
    encoded = [_encoded(each) for each in (parameters() if callable(parameters) else parameters)]
    try:
        pgconn.send_query_params(
            statement.encode(),
            [value for value, _ in encoded],
            param_formats=[form for _, form in encoded],
            result_format=Format.BINARY,
        )
        with selectors.DefaultSelector() as selector:
            results = _results(pgconn, selector, deadline)
    except psycopg.Error as error:
        raise LostError(str(error)) from None
    for result in results:
        if result.status not in _GOOD:
            raise _refusal(pgconn, result)
    if not results or pgconn.status != ConnStatus.OK:
        raise LostError("the connection was closed")
    last = results[-1]
    decoders = [_DECODERS[last.ftype(column)] for column in range(last.nfields)]
    return [
        tuple(
            None if (value := last.get_value(row, column)) is None else decode(value)
            for column, decode in enumerate(decoders)
        )
        for row in range(last.ntuples)
    ]


def _results(pgconn: PGconn, selector: selectors.BaseSelector, deadline: float) -> list[PGresult]:
    fd = pgconn.socket
    selector.register(fd, selectors.EVENT_READ | selectors.EVENT_WRITE)
    while pgconn.flush():
        if _wait(selector, deadline) & selectors.EVENT_READ:
            pgconn.consume_input()  # or both sides wait for the other to read
    selector.modify(fd, selectors.EVENT_READ)
    results: list[PGresult] = []
    while True:
        while pgconn.is_busy():
            _wait(selector, deadline)
            pgconn.consume_input()
        result = pgconn.get_result()
        if result is None:
            return results
        results.append(result)


def _wait(selector: selectors.BaseSelector, deadline: float) -> int:
    """Wait until the socket is ready, and return for what."""
    remaining = deadline - SYSTEM_CLOCK.monotonic()
    ready = selector.select(min(remaining, _LONGEST_WAIT_SECONDS)) if remaining > 0 else []
    if not ready and SYSTEM_CLOCK.monotonic() >= deadline:
        raise TimedOutError
    return ready[0][1] if ready else 0


def _encoded(value: Parameter) -> tuple[bytes | None, Format]:
    """Return *value* for libpq. As text, a string would be cut at a NUL."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), Format.BINARY
    if isinstance(value, bytes):
        return value, Format.BINARY
    return None if value is None else str(value).encode(), Format.TEXT


def _refusal(pgconn: PGconn, result: PGresult) -> RefusedError:
    message = result.error_field(DiagnosticField.MESSAGE_PRIMARY) or b"the connection was closed"
    sqlstate = result.error_field(DiagnosticField.SQLSTATE) or b""
    is_fatal = pgconn.status != ConnStatus.OK
    if is_fatal and not sqlstate:  # libpq made this result
        raise LostError(message.decode("utf-8", "replace"))
    role = pgconn.user.decode("utf-8", "replace")
    return RefusedError(message.decode("utf-8", "replace"), sqlstate.decode(), is_fatal, role)
