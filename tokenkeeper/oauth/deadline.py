"""A requests adapter whose reads end in time, in total.

``timeout=`` bounds each single read, so a server that sends a byte a second holds a caller for as
long as it likes: in the body, and also in the status line and the headers, which no loop of ours
sees. Here every read from the socket gets what is left of the request's budget, and no more.
"""

from __future__ import annotations

import http.client
import io
import socket
import threading
from socket import SOCK_STREAM
from typing import Any

import requests.adapters
import urllib3
import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import allowed_gai_family

from tokenkeeper.clock import Clock

__all__ = ["Budget", "DeadlineAdapter"]

_current = threading.local()  # the budget of the request that this thread is making


class Budget:
    """What a request may still take. Entered on the thread that makes the request."""

    def __init__(self, clock: Clock, total_seconds: float, read_seconds: float) -> None:
        self._clock = clock
        self._ends_at = clock.monotonic() + total_seconds
        self._read_seconds = read_seconds

    def remaining(self) -> float:
        """Return the seconds that are left, 0 if there are none."""
        return max(0.0, self._ends_at - self._clock.monotonic())

    def next_read(self) -> float:
        """Return the timeout of the next read.

        :raises TimeoutError: if nothing is left.
        """
        remaining = self.remaining()
        if remaining <= 0:
            raise TimeoutError("the total time for the request is over")
        return min(self._read_seconds, remaining)

    def __enter__(self) -> None:
        _current.budget = self

    def __exit__(self, *_: object) -> None:
        _current.budget = None


class _BoundedReader(io.RawIOBase):
    """Reads from a socket within the budget of the thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # The socket counts the files made of it and stays open for them, as http.client expects.
        self._file = sock.makefile("rb", buffering=0)
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_current.budget.next_read())
        count = self._file.readinto(buffer)
        self.ended = count == 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedSocket:
    """All that http.client asks of a socket to read a response from it."""

    def __init__(self, sock: socket.socket) -> None:
        self.reader = _BoundedReader(sock)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.reader)


class _BoundedResponse(http.client.HTTPResponse):
    """A response, or a proxy's answer to CONNECT, that is read within the budget."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        bounded = _BoundedSocket(sock)
        self._reader = bounded.reader
        super().__init__(bounded, *args, **kwargs)  # type: ignore[arg-type]  # a duck

    def begin(self) -> None:
        """Read the status and the headers.

        http.client takes a connection that ends within them for their end, and what is left of
        them for an answer.
        """
        super().begin()
        if self._reader.ended:
            raise http.client.IncompleteRead(b"")


class _BoundedHTTPConnection(HTTPConnection):
    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        """Connect to one address of the host after the other, as long as there is time.

        urllib3 gives each address the whole connect timeout, and a login host has sixteen.
        """
        host, longest = self._dns_host, self.timeout
        failure: urllib3.exceptions.HTTPError | None = None
        try:
            for address in _addresses(host, self.port):
                remaining = _current.budget.remaining()
                if remaining <= 0:
                    problem = "the total time for the request is over"
                    raise urllib3.exceptions.ConnectTimeoutError(self, problem)
                self._dns_host, self.timeout = address, min(longest or remaining, remaining)
                try:
                    return super()._new_conn()
                except urllib3.exceptions.HTTPError as error:
                    failure = error
        finally:
            self._dns_host, self.timeout = host, longest
        if failure is not None:
            raise failure
        return super()._new_conn()  # it says what is wrong with the host


class _BoundedHTTPSConnection(_BoundedHTTPConnection, HTTPSConnection):
    """The same, with TLS."""


def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of *host*; none if it has none, or one that is more than its text."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    if any(any(where[3:]) for *_, where in found):  # the scope of a link-local IPv6 address
        return []
    return [str(where[0]) for *_, where in found]


class _UsedOnce(urllib3.HTTPConnectionPool):
    """Closes each connection when its answer was read, and keeps none.

    An answer that was sent twice, by a broken proxy for one, would be read as the answer to the
    next request: an old token with a new life. And a connection that the server closed meanwhile
    would cost that request. A token request an hour has no use for the one before it.
    """

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.close()


class _HTTPPool(_UsedOnce):
    ConnectionCls = _BoundedHTTPConnection


class _HTTPSPool(_UsedOnce, urllib3.HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


def _bound(manager: urllib3.PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}


class DeadlineAdapter(requests.adapters.HTTPAdapter):
    """Sends requests, each inside a :class:`Budget`. Thread-safe, as its base is."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **kwargs)
        _bound(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        """Make the pools of connections by way of *proxy*."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        if type(manager) is urllib3.ProxyManager:  # a SOCKS proxy has its own pools
            _bound(manager)
        return manager
