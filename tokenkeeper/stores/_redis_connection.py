"""Connections to Redis that respect an operation's total time limit.

``socket_timeout`` of redis-py limits each single read. An operation may need many: TLS, AUTH,
SELECT, the question to a Sentinel, the map of a Cluster, a second attempt. Here every wait is
limited to the time that the operation has left, so a hung server costs its caller one timeout and
no more. The resolution of a host name is the exception: the system limits it.
"""

from __future__ import annotations

import socket
from typing import Any

from redis.connection import Connection, SSLConnection
from redis.sentinel import SentinelManagedConnection, SentinelManagedSSLConnection

from tokenkeeper.stores._redis_budget import current_budget

__all__ = [
    "PlainConnection",
    "PlainSentinelConnection",
    "SharingConnection",
    "SharingTLSConnection",
    "TLSConnection",
    "TLSSentinelConnection",
]


class _BoundedSocket:
    """A socket whose waits are limited by the current budget, whatever timeout is set."""

    def __init__(self, sock: socket.socket, share: float) -> None:
        self._sock = sock
        self._share = share
        self._blocks = True

    def settimeout(self, seconds: float | None) -> None:
        self._blocks = seconds != 0
        if not self._blocks:
            self._sock.settimeout(0)

    def recv(self, *args: Any) -> bytes:
        self._limit()
        return self._sock.recv(*args)

    def recv_into(self, *args: Any) -> int:
        self._limit()
        return self._sock.recv_into(*args)

    def sendall(self, data: Any) -> None:
        self._limit()
        self._sock.sendall(data)

    def _limit(self) -> None:
        if self._blocks:
            self._sock.settimeout(current_budget().next_wait(self._share))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)


class _Bounded:
    """Limits what a connection class waits for.

    redis-py reads the two timeouts before it connects, and where it does not expect an error.
    """

    share = 1.0
    """Which part of the time left one wait may take. Where other servers are asked next, half."""

    def _connect(self) -> Any:
        return _BoundedSocket(super()._connect(), self.share)  # type: ignore[misc]

    @property
    def socket_timeout(self) -> Any:
        return current_budget().shortest_wait(self.share)

    @socket_timeout.setter
    def socket_timeout(self, seconds: Any) -> None:
        """Ignore the client's own timeout."""

    @property
    def socket_connect_timeout(self) -> Any:
        return self.socket_timeout

    @socket_connect_timeout.setter
    def socket_connect_timeout(self, seconds: Any) -> None:
        """Ignore the client's own timeout."""


class PlainConnection(_Bounded, Connection):
    """A connection to one server."""


class TLSConnection(_Bounded, SSLConnection):
    """The same with TLS."""


class PlainSentinelConnection(_Bounded, SentinelManagedConnection):
    """A connection to the primary that Sentinels name."""


class TLSSentinelConnection(_Bounded, SentinelManagedSSLConnection):
    """The same with TLS."""


class SharingConnection(_Bounded, Connection):
    """A connection to one of several servers: if it hangs, there is time for the others."""

    share = 0.5


class SharingTLSConnection(_Bounded, SSLConnection):
    """The same with TLS."""

    share = 0.5
