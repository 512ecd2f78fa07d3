"""One connection to PostgreSQL, and whether it may still be used."""

from __future__ import annotations

import os
import select
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["Session"]


class Session:
    """A connection, and its history.

    :ivar was_used: whether it was lent before.
    :ivar lent_until: the deadline of the operation that it was lent to last.
    :ivar pid: the process that opened it.
    """

    __slots__ = ("connection", "idle_since", "lent_until", "pid", "was_used")

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.idle_since = SYSTEM_CLOCK.monotonic()
        self.lent_until = self.idle_since
        self.pid = os.getpid()
        self.was_used = False

    @property
    def is_usable(self) -> bool:
        """Whether nothing arrived while it was idle: neither a goodbye nor the end of the stream.

        A server that restarts, and a firewall that resets, are noticed here without a round trip.
        """
        pgconn = self.connection.pgconn
        if pgconn.status != ConnStatus.OK or pgconn.transaction_status != TransactionStatus.IDLE:
            return False
        try:
            if _is_readable(pgconn.socket):
                pgconn.consume_input()  # such as a changed setting, which is harmless
                return not _is_readable(pgconn.socket)
        except psycopg.Error:
            return False
        return True


def _is_readable(fd: int) -> bool:
    """Return whether something can be read from *fd* now."""
    if hasattr(select, "poll"):  # unlike select(), it takes numbers above 1023
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([fd], [], [], 0)[0])
