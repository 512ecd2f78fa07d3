"""Connections that respect a request's total time limit, and that leak no secret.

``timeout=`` limits each single read, so a server that sends one byte a second could hold a caller
indefinitely: in the body, but also in the status line and the headers, which are read inside
http.client. Here every read from the socket is limited to the time that the request has left.

The same classes keep secrets out of the logs of urllib3 and http.client, and make sure that an
unencrypted request stays on this machine.
"""

from __future__ import annotations

import functools
import http.client
import io
import ipaddress
import socket
import sys
import threading
from contextlib import suppress
from socket import SOCK_STREAM
from typing import Any

import urllib3
import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import allowed_gai_family
from urllib3.util.response import assert_header_parsing

from tokenkeeper._runtime.fork import late_import
from tokenkeeper._support.checks import is_loopback
from tokenkeeper.clock import Clock
from tokenkeeper.oauth.claims import last_look

__all__ = ["Budget", "ForeignPeerError", "bind", "current_budget", "is_link_local"]

_current = threading.local()  # the budget of the request that this thread is making


class Budget:
    """The time that a request has left. Entered once, on the thread that makes the request.

    A request within a request, such as that of a caller's adapter which needs a token of its own
    first, has its own budget; then the outer one applies again.

    :ivar total_seconds: the time that it had.
    """

    def __init__(self, clock: Clock, total_seconds: float, read_seconds: float) -> None:
        self._clock = clock
        self.total_seconds = total_seconds
        self._ends_at = clock.monotonic() + total_seconds
        self._read_seconds = read_seconds
        self._outer: Budget | None = None

    def remaining(self) -> float:
        """Return how many seconds are left, at least 0."""
        return max(0.0, self._ends_at - self._clock.monotonic())

    def next_read(self) -> float:
        """Return the timeout of the next read.

        :raises TimeoutError: if no time is left.
        """
        remaining = self.remaining()
        if remaining <= 0:
            raise TimeoutError("the total time for the request is over")
        return min(self._read_seconds, remaining)

    def __enter__(self) -> None:
        self._outer = getattr(_current, "budget", None)
        _current.budget = self

    def __exit__(self, *_: object) -> None:
        _current.budget = self._outer


def current_budget() -> Budget:
    """Return the budget of the innermost request that the calling thread is making."""
    budget: Budget = _current.budget
    return budget


class ForeignPeerError(Exception):
    """A loopback name resolved to another machine, and the request is not encrypted.

    :ivar peer: that machine's address.
    """

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self.peer = peer


class _BoundedReader(io.RawIOBase):
    """Reads from a socket within the budget of the thread."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # The socket counts its open files, and stays open for them as http.client expects.
        self._file = sock.makefile("rb", buffering=0)
        self.ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(current_budget().next_read())
        count = self._file.readinto(buffer)
        self.ended = count == 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedSocket:
    """The part of a socket that http.client needs to read a response."""

    def __init__(self, sock: socket.socket) -> None:
        self.reader = _BoundedReader(sock)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self.reader)


class _BoundedResponse(http.client.HTTPResponse):
    """A response, or a proxy's response to CONNECT, that is read within the budget."""

    def __init__(self, sock: Any, **options: Any) -> None:
        bounded = _BoundedSocket(sock)
        self._reader = bounded.reader
        super().__init__(bounded, **options)  # type: ignore[arg-type]  # it has what a response uses

    def begin(self) -> None:
        """Read the status and the headers.

        If a connection closes within the headers, http.client takes them for complete. Headers that
        can't be parsed may be a body without the blank line before it: urllib3 would log it, with
        the token in it.
        """
        super().begin()
        if self._reader.ended:
            raise http.client.IncompleteRead(b"")
        with suppress(urllib3.exceptions.HeaderParsingError, TypeError):
            assert_header_parsing(self.msg)
            return
        # Raised here, without the original as context, which quotes the headers.
        raise http.client.HTTPException("the headers can't be parsed")


class _BoundedConnection(HTTPConnection):
    """A mixin for classes of connections.

    It ignores the ``debuglevel`` of ``http.client``, which prints whole requests.
    """

    debuglevel = 0
    response_class = _BoundedResponse
    query = ""
    """The query of the request. It may contain a secret, so urllib3 must not log it."""
    resolves = True
    """Whether the base class connects as urllib3 does, to a host by its name."""

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, url + self.query, *args, **kwargs)

    def send(self, data: Any) -> None:
        """Send a part of the request, if its claim in a store still holds."""
        if self.sock is None and self.auto_open:
            self.connect()
        last_look()
        super().send(data)

    def _new_conn(self) -> socket.socket:
        sock = self._connected()
        try:
            # This is the time limit of the TLS handshake.
            sock.settimeout(self._time_to_connect())
            if not isinstance(self, HTTPSConnection):
                _check_peer(self.host, sock)
        except BaseException:
            sock.close()
            raise
        return sock

    def _tunnel(self) -> None:
        super()._tunnel()
        self.sock.settimeout(self._time_to_connect())

    def _time_to_connect(self) -> float:
        remaining = current_budget().remaining()
        if remaining <= 0:
            problem = "the total time for the request is over"
            raise urllib3.exceptions.ConnectTimeoutError(self, problem)
        return min(self.timeout or remaining, remaining)

    def _connected(self) -> socket.socket:
        """Try the addresses of the host one after another while there is time.

        urllib3 allows the whole connect timeout for each address, and some login hosts have 16.
        """
        host, longest = self._dns_host, self.timeout
        failure: urllib3.exceptions.HTTPError | None = None
        try:
            for address in _addresses(host, self.port) if self.resolves else ():
                self.timeout = longest
                self._dns_host, self.timeout = address, self._time_to_connect()
                try:
                    return super()._new_conn()
                except urllib3.exceptions.HTTPError as error:
                    failure = error
        finally:
            self._dns_host, self.timeout = host, longest
        if failure is not None:
            raise failure
        return super()._new_conn()  # raises the error for this host


def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of *host*, or none if one of them can't be written as text alone."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    if any(any(where[3:]) for *_, where in found):  # the scope of a link-local IPv6 address
        return []
    return [str(where[0]) for *_, where in found]


def _check_peer(host: str, sock: socket.socket) -> None:
    """Raise if *sock*, which is not encrypted, is connected to another machine.

    A resolver may return any address for ``localhost``. Link-local addresses are allowed for the
    metadata servers of clouds, which are asked without a secret.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # a Unix socket
    peer = str(sock.getpeername()[0])
    if not is_loopback(peer) and (is_loopback(host) or not is_link_local(peer)):
        raise ForeignPeerError(peer)


def is_link_local(host: str) -> bool:
    """Return whether *host* is a link-local address, which routers do not forward."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_link_local
    except ValueError:
        return False


class _UsedOnce(urllib3.HTTPConnectionPool):
    """A mixin for pools that closes each connection after its response was read.

    A response that was sent twice, for example by a broken proxy, would be read as the response to
    the next request: an old token with a new lifetime. And if the server had closed the connection,
    that request would fail. One token request an hour does not need an open connection.
    """

    below: type[urllib3.HTTPConnectionPool]
    """The class of pools that this mixin extends."""

    def _new_conn(self) -> Any:
        # Looked up late: a recorder for tests, such as vcrpy, replaces this class for a while.
        self.ConnectionCls = _bounded_connections(self.below.ConnectionCls)
        return super()._new_conn()

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        if isinstance(conn, _BoundedConnection):
            url, mark, query = url.partition("?")
            conn.query = mark + query
        return super()._make_request(conn, method, url, *args, **kwargs)

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.close()


@functools.lru_cache(64)
def _bounded_pools(below: type[urllib3.HTTPConnectionPool]) -> type[urllib3.HTTPConnectionPool]:
    if issubclass(below, _UsedOnce):
        return below
    return type(f"Bounded{below.__name__}", (_UsedOnce, below), {"below": below})


@functools.lru_cache(64)
def _bounded_connections(below: Any) -> Any:
    """Return the class of connections *below* with bounded reads and without secrets in logs.

    A class that sends requests in its own way is returned unchanged: it replays recorded responses.
    """
    own = isinstance(below, type) and issubclass(below, HTTPConnection)
    if not own or any(
        getattr(below, name) is not getattr(HTTPConnection, name)
        for name in ("request", "getresponse")
    ):
        return below
    bases: tuple[type, ...] = (_BoundedConnection, below)
    by_socks = sys.modules.get("urllib3.contrib.socks")
    if by_socks is not None and issubclass(below, by_socks.SOCKSConnection):
        bases = (_BoundedConnection, late_import("tokenkeeper.oauth.socks").SocksConnection, below)
    resolves = below._new_conn is HTTPConnection._new_conn  # noqa: SLF001 - as urllib3 has it
    return type(f"Bounded{below.__name__}", bases, {"resolves": resolves})


def bind(manager: urllib3.PoolManager) -> None:
    """Make the connections of *manager*, which the caller owns, respect the budget."""
    pools: dict[str, Any] = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {
        scheme: _bounded_pools(pool) for scheme, pool in pools.items()
    }
