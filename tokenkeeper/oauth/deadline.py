"""Connections that keep to the total time of a request, and hide what they carry from logs.

``timeout=`` bounds each single read, so a server that sends a byte a second holds a caller for as
long as it likes: in the body, and also in the status line and the headers, which no loop of ours
sees. Here every read from the socket gets what is left of the request's budget, and no more.

The same classes keep secrets out of the logs of urllib3 and http.client, and a request that is
not encrypted on this machine.
"""

from __future__ import annotations

import functools
import http.client
import io
import ipaddress
import socket
import sys
import threading
from socket import SOCK_STREAM
from typing import Any, cast

import urllib3
import urllib3.exceptions
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.connection import allowed_gai_family
from urllib3.util.response import assert_header_parsing

from tokenkeeper._runtime.fork import late_import
from tokenkeeper._support.checks import is_loopback
from tokenkeeper.clock import Clock

__all__ = ["Budget", "ForeignPeerError", "bind", "current_budget", "is_link_local"]

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


def current_budget() -> Budget:
    """Return the budget of the request that the calling thread is making."""
    return cast("Budget", _current.budget)


class ForeignPeerError(Exception):
    """A name that should mean this machine led to another one, and TLS does not protect it.

    :ivar peer: the address.
    """

    def __init__(self, peer: str) -> None:
        super().__init__(peer)
        self.peer = peer


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
        self._sock.settimeout(current_budget().next_read())
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
        them for an answer. Headers that can't be parsed may be a body that lacks the blank line
        before it: urllib3 would log it, with the token in it.
        """
        super().begin()
        if self._reader.ended:
            raise http.client.IncompleteRead(b"")
        try:
            assert_header_parsing(self.msg)
        except (urllib3.exceptions.HeaderParsingError, TypeError):
            garbled = True
        else:
            garbled = False
        if (
            garbled
        ):  # raised here, so that the original, which quotes the answer, is not its context
            raise http.client.HTTPException("the headers can't be parsed")


class _BoundedConnection(HTTPConnection):
    """What is put on top of a class of connections.

    ``http.client`` prints requests whole where somebody set its ``debuglevel``; not these.
    """

    debuglevel = 0
    response_class = _BoundedResponse
    query = ""
    """The query of the request, which may hold a secret and so stays out of urllib3's log."""
    resolves = True
    """Whether the class below connects in urllib3's own way, to a host that has a name."""

    def putrequest(self, method: str, url: str, *args: Any, **kwargs: Any) -> None:
        super().putrequest(method, url + self.query, *args, **kwargs)

    def _new_conn(self) -> socket.socket:
        sock = self._connected()
        try:
            # A TLS handshake takes this as its total time.
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
        """Connect to one address of the host after the other, as long as there is time.

        urllib3 gives each address the whole connect timeout, and a login host has sixteen.
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
        return super()._new_conn()  # it says what is wrong with the host


def _addresses(host: str, port: int) -> list[str]:
    """Return the addresses of *host*; none if it has none, or one that is more than its text."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, allowed_gai_family(), SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    if any(any(where[3:]) for *_, where in found):  # the scope of a link-local IPv6 address
        return []
    return [str(where[0]) for *_, where in found]


def _check_peer(host: str, sock: socket.socket) -> None:
    """Raise if *sock*, which is not encrypted, leads off this machine.

    A resolver may send ``localhost`` anywhere. The metadata server of a cloud, which is asked
    without a secret, has a link-local address.
    """
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return  # a socket in the file system
    peer = str(sock.getpeername()[0])
    if not is_loopback(peer) and (is_loopback(host) or not is_link_local(peer)):
        raise ForeignPeerError(peer)


def is_link_local(host: str) -> bool:
    """Return whether *host* is an address that no router passes on."""
    try:
        return ipaddress.ip_address(host.strip("[]").partition("%")[0]).is_link_local
    except ValueError:
        return False


class _UsedOnce(urllib3.HTTPConnectionPool):
    """Closes each connection when its answer was read, and keeps none.

    An answer that was sent twice, by a broken proxy for one, would be read as the answer to the
    next request: an old token with a new life. And a connection that the server closed meanwhile
    would cost that request. A token request an hour has no use for the one before it.
    """

    below: type[urllib3.HTTPConnectionPool]
    """The class of pools that this one is put on."""

    def _new_conn(self) -> Any:
        # Looked up now: a recorder of tests, such as vcrpy, puts its own class there for a while.
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
    """Return *below*, a class of connections, with its reads and its logs bounded.

    One that has its own way to send a request does not read from a socket here: it plays a
    recorded answer.
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
    """Have the connections of *manager*, which is the caller's own, keep to the budget."""
    pools = manager.pool_classes_by_scheme
    manager.pool_classes_by_scheme = {
        scheme: cast("Any", _bounded_pools(cast("Any", pool))) for scheme, pool in pools.items()
    }
