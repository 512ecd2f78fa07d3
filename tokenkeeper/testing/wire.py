"""HTTP/1.1 over loopback sockets: keep-alive, one thread per connection, a clean stop."""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from tokenkeeper.testing.endpoints import Request
from tokenkeeper.testing.faults import Answer

__all__ = ["Wire"]

_BODY_LIMIT = 1 << 20
_NO_LINGER = struct.pack("ii", 1, 0)  # close() then resets the connection


class Wire(ThreadingHTTPServer):
    """Listens on a port of 127.0.0.1, with one thread for each connection.

    :param answer: called with each request, from many threads at once.
    :param stopping: when set, ends an answer that drips.
    :param port: the port to listen on; 0 for a free one.
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
    ) -> None:
        self.answer = answer
        self.stopping = stopping
        self._open: set[socket.socket] = set()
        self._closed = threading.Condition()  # guards _open
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
        self.shutdown()
        self._thread.join(timeout)
        self.server_close()
        with self._closed:
            for connection in self._open:
                with suppress(OSError):  # the peer may have closed it first
                    connection.shutdown(socket.SHUT_RDWR)
            self._closed.wait_for(lambda: not self._open, timeout)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a connection, then serve it on its own thread."""
        with self._closed:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection that was served."""
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            self.close_request(request)  # closing without a shutdown resets the connection
        else:
            super().shutdown_request(request)
        with self._closed:
            self._open.discard(request)
            self._closed.notify_all()

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

    do_GET = do_POST = _exchange  # noqa: N815 - the base class looks for these

    def _send(self, answer: Answer) -> None:
        headers, body = answer.encoded()
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
