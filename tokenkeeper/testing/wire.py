"""HTTP/1.1 over loopback sockets: keep-alive, one thread per connection, a clean stop."""

from __future__ import annotations

import os
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tokenkeeper.testing.connections import Connections
from tokenkeeper.testing.faults import Answer
from tokenkeeper.testing.request import Request

__all__ = ["Wire"]

_BODY_LIMIT = 1 << 20
IDLE_SECONDS = 60.0
"""How long a connection may be idle, or stop in the middle of a request, in real seconds."""

MAX_CONNECTIONS = 500

_NO_LINGER = struct.pack("ii", 1, 0)  # close() then resets the connection


class Wire(ThreadingHTTPServer):
    """Listens on a port of 127.0.0.1, with one thread for each connection.

    If too many connections are open, an idle one is closed, and new ones wait.

    :param answer: called with each request, from many threads at once.
    :param stopping: when set, ends an answer that drips.
    :param port: the port to listen on; 0 for a free one.
    :param tls: serves https with this context; by default http.
    :param max_connections: how many connections may be open, each with a thread.
    :param idle_seconds: after how many seconds without data a connection is closed.
    :raises OSError: if the port is not available.
    """

    # A port that another server listens on is refused. Windows would share it by the first of
    # these, some 3.14 by the second; elsewhere the first is for a port that was just left.
    allow_reuse_address: bool = os.name == "posix"
    allow_reuse_port: bool = False
    daemon_threads = True
    request_queue_size = 1024

    def __init__(
        self,
        answer: Callable[[Request], Answer | Literal["reset"]],
        stopping: threading.Event,
        port: int = 0,
        *,
        tls: ssl.SSLContext | None = None,
        max_connections: int = MAX_CONNECTIONS,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self.answer = answer
        self.stopping = stopping
        self.connections: Connections = Connections(max_connections)
        self._tls = tls
        self._idle_seconds = idle_seconds
        super().__init__(("127.0.0.1", port), _Handler)
        # The argument is how often it checks whether to stop, in seconds.
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.02,), name="loopback-server", daemon=True
        )

    def start(self) -> None:
        """Start to accept connections."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Stop listening and close every connection; wait at most *timeout* seconds."""
        if not self._thread.is_alive():  # in a forked child: the connections are the parent's
            self.server_close()
            return
        self.connections.refuse()
        self.shutdown()
        self._thread.join(timeout)
        self.server_close()
        self.connections.close_all(timeout)

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. Its thread does the TLS handshake, which may take long."""
        connection, address = super().get_request()
        connection.settimeout(self._idle_seconds)
        if self._tls is not None:
            connection = self._tls.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on its own thread, once there is room for one more."""
        if self.connections.admit(request):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that was served."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            self.close_request(request)  # closing without a shutdown resets the connection
        else:
            super().shutdown_request(request)
        self.connections.closed(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that disconnected."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Wire

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Print nothing."""

    def handle(self) -> None:
        """Answer one request after the other."""
        self.close_connection = True
        self.handle_one_request()
        while not self.close_connection:
            # Not before the first request: closing a new connection looks like a failure.
            self.server.connections.idle(self.connection)
            self.handle_one_request()

    def parse_request(self) -> bool:
        """Parse the request whose first line has arrived."""
        self.server.connections.busy(self.connection)
        return super().parse_request()

    def _exchange(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal() or int(length) > _BODY_LIMIT or self.headers["Transfer-Encoding"]:
            self.send_error(HTTPStatus.BAD_REQUEST)
            self.close_connection = True
            return
        body = self.rfile.read(int(length))
        answer = self.server.answer(Request(self.command, self.path, self.headers, body))
        if answer == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.close_connection = True
        else:
            self._send(answer)

    # The base class looks for these, and answers 501 to other methods.
    do_GET = do_HEAD = do_POST = do_PUT = _exchange  # noqa: N815
    do_PATCH = do_DELETE = do_OPTIONS = _exchange  # noqa: N815

    def _send(self, answer: Answer) -> None:
        headers, body = answer.encoded()
        if self.command == "HEAD":
            body = b""  # with the headers of GET, Content-Length included (RFC 9110 §9.3.2)
        try:
            phrase = HTTPStatus(answer.status).phrase
        except ValueError:
            phrase = "Unknown"
        lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{k}: {v}" for k, v in headers.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if answer.drip_seconds <= 0:
            self.wfile.write(head + body)  # in one piece, as TCP_NODELAY is on
            return
        self.wfile.write(head)
        for byte in body:
            self.wfile.write(bytes([byte]))
            if self.server.stopping.wait(answer.drip_seconds):
                self.close_connection = True
                return
