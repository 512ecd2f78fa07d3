"""Connections that are opened within a total time, through a proxy and with TLS as well.

The timeout of a socket limits each single read. A server or proxy that sends a byte now and then
never exceeds it.
"""

from __future__ import annotations

import re
import select
import socket
import ssl

from urllib3.util import make_headers

from tokenkeeper.clock import Clock

__all__ = ["Deadline", "NoTunnelError", "open_tunnel", "shake_hands"]

MAX_RESPONSE_BYTES = 64 * 1024
"""The most bytes to read of a proxy's response to CONNECT; it has a few hundred."""


class Deadline:
    """The end of a number of seconds, which may be spent on several operations."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._ends_at = clock.monotonic() + seconds

    def left(self) -> float:
        """Return the remaining seconds.

        :raises TimeoutError: if there are none.
        """
        left = self._ends_at - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError("the time limit was exceeded")
        return left


class NoTunnelError(Exception):
    """The proxy did not connect us to the server.

    :ivar status: the status of its response; ``None`` if there was no valid response.
    """

    def __init__(self, status: int | None = None) -> None:
        super().__init__(status)
        self.status = status


def open_tunnel(
    plain: socket.socket,
    host: str,
    port: int,
    credentials: tuple[str, str] | None,
    deadline: Deadline,
) -> None:
    """Ask the proxy behind *plain* to connect us to a server (CONNECT, RFC 9110 §9.3.6).

    :raises NoTunnelError: if it does not.
    :raises TimeoutError: if *deadline* passes.
    """
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
    if credentials:
        headers = make_headers(proxy_basic_auth=":".join(credentials))
        lines += [f"{name}: {value}" for name, value in headers.items()]
    try:
        plain.settimeout(deadline.left())
        plain.sendall("\r\n".join([*lines, "", ""]).encode("latin-1", "replace"))
        status = _status(_head(plain, deadline))
    except TimeoutError:
        raise
    except OSError:
        raise NoTunnelError from None
    if status is None or not 200 <= status < 300:
        raise NoTunnelError(status)


def _head(plain: socket.socket, deadline: Deadline) -> bytes:
    """Return the status line and headers of the response, complete or not."""
    head = bytearray()
    while len(head) <= MAX_RESPONSE_BYTES:
        plain.settimeout(deadline.left())
        piece = plain.recv(4096)
        head += piece
        if b"\r\n\r\n" in head or b"\n\n" in head:
            return bytes(head)
        if not piece:
            break
    # Incomplete, or too long. A refusal counts all the same; a permission does not.
    return b"" if head.split(b" ")[1:2] == [b"200"] else bytes(head)


def _status(head: bytes) -> int | None:
    found = re.match(rb"HTTP/[0-9.]{1,9} +([1-9][0-9]{2})\b", head)
    return int(found[1]) if found else None


def shake_hands(
    plain: socket.socket, context: ssl.SSLContext, host: str, deadline: Deadline
) -> ssl.SSLSocket:
    """Return *plain* wrapped in TLS, after a handshake.

    :raises OSError: if the handshake fails (``ssl.SSLError``), or *deadline* passes.
    """
    plain.settimeout(None)
    connection = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    try:
        connection.setblocking(False)
        while True:
            try:
                connection.do_handshake()
            except ssl.SSLWantReadError:
                select.select([connection], [], [], deadline.left())
            except ssl.SSLWantWriteError:
                select.select([], [connection], [], deadline.left())
            else:
                return connection
    except BaseException:
        connection.close()
        raise
