"""Connections that are opened in time, in total, also through a proxy and by TLS.

A timeout of a socket bounds each single read. A server, or a proxy, that sends a byte now and
then holds up whoever relies on that for as long as it likes.
"""

from __future__ import annotations

import re
import select
import socket
import ssl

from urllib3.util import make_headers

from tokenkeeper.clock import Clock

__all__ = ["Deadline", "NoTunnelError", "open_tunnel", "shake_hands"]

LONGEST_ANSWER = 64 * 1024
"""Bytes of a proxy's answer to CONNECT; it takes a few hundred."""


class Deadline:
    """The end of what may take so many seconds in all."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._ends_at = clock.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: if there are none.
        """
        left = self._ends_at - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError("the time is over")
        return left


class NoTunnelError(Exception):
    """The proxy did not let us through.

    :ivar status: its answer's; ``None`` if it gave none that can be read.
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
    """Have the proxy behind *plain* connect us to a server (CONNECT, RFC 9110 §9.3.6).

    :raises NoTunnelError: if it does not.
    :raises TimeoutError: if that takes too long.
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
    """Return the status line and the headers of an answer, or what there is of them."""
    head = bytearray()
    while len(head) <= LONGEST_ANSWER:
        plain.settimeout(deadline.left())
        piece = plain.recv(4096)
        head += piece
        if b"\r\n\r\n" in head or b"\n\n" in head:
            return bytes(head)
        if not piece:
            break
    # Cut short, or without end: what it says counts, unless that is that we are let through.
    return b"" if head.split(b" ")[1:2] == [b"200"] else bytes(head)


def _status(head: bytes) -> int | None:
    found = re.match(rb"HTTP/[0-9.]{1,9} +([1-9][0-9]{2})\b", head)
    return int(found[1]) if found else None


def shake_hands(
    plain: socket.socket, context: ssl.SSLContext, host: str, deadline: Deadline
) -> ssl.SSLSocket:
    """Return *plain* with TLS on it, after a handshake that ends in time.

    :raises OSError: if there is none; ``ssl.SSLError`` is one.
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
