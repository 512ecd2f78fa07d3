"""The open connections of a server: their number is limited, and idle ones make room."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

__all__ = ["Connections"]


class Connections:
    """Counts connections and knows which of them wait for a request. Thread-safe.

    :param limit: how many may be open at once.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._changed = threading.Condition()  # guards all that follows
        self._open: set[socket.socket] = set()
        self._idle: dict[socket.socket, None] = {}  # those that were idle for longest come first
        self._stopped = False

    def admit(self, connection: socket.socket) -> bool:
        """Wait until there is room for *connection*; return whether it may be served.

        If there is none, the connection that was idle for longest is closed. HTTP clients expect
        that of a connection that they keep (RFC 9112 §9.3), and open another.
        """
        with self._changed:
            while len(self._open) >= self._limit and not self._stopped:
                if self._idle:
                    idlest = next(iter(self._idle))
                    del self._idle[idlest]
                    # Its thread reads what has arrived, then the end, and closes it.
                    shut(idlest, socket.SHUT_RD)
                self._changed.wait()
            if not self._stopped:
                self._open.add(connection)
            return not self._stopped

    def idle(self, connection: socket.socket) -> None:
        """Note that *connection* waits for a request."""
        with self._changed:
            if connection in self._open:
                self._idle[connection] = None
                self._changed.notify_all()

    def busy(self, connection: socket.socket) -> None:
        """Note that a request has arrived on *connection*."""
        with self._changed:
            self._idle.pop(connection, None)

    def closed(self, connection: socket.socket) -> None:
        """Note that *connection* was closed."""
        with self._changed:
            self._open.discard(connection)
            self._idle.pop(connection, None)
            self._changed.notify_all()

    def refuse(self) -> None:
        """Admit no more connections, not even those that wait."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close_all(self, timeout: float) -> None:
        """Close every connection, and wait for their threads at most *timeout* seconds."""
        with self._changed:
            for connection in self._open:
                shut(connection, socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, timeout)


def shut(connection: socket.socket, how: int) -> None:
    """Shut down one or both directions of *connection*."""
    with suppress(OSError):  # the peer may have closed it first
        # Not the method of an SSLSocket, which another thread is reading from.
        socket.socket.shutdown(connection, how)
