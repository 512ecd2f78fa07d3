"""The HTTP server of all tests: on loopback, with threads, and with TLS where a test wants it.

Subclasses override :meth:`LoopbackServer.answer`. What HTTP forbids is sent by
:mod:`kit.servers.raw`.
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import cached_property
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl

from kit.guards import GUARD_SECONDS

_CLIENT_HELLO = b"\x16"  # RFC 8446 §5.1: the type of the record that opens a handshake
_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass
class Request:
    """A request that arrived.

    :ivar target: the path and the query as they were sent.
    :ivar headers: the headers by their names in lower case.
    :ivar port: the client's port, which differs between connections.
    :ivar certificate: the certificate in DER that the client presented; ``None`` for none.
    """

    method: str
    target: str
    headers: dict[str, str]
    port: int
    _read_body: Callable[[], bytes] = field(repr=False)
    certificate: bytes | None = field(default=None, repr=False)

    @cached_property
    def body(self):
        """The body, read from the connection when it is first used."""
        return self._read_body()

    @property
    def path(self):
        return self.target.partition("?")[0]

    @property
    def query(self):
        """The parameters of the query, sorted."""
        return sorted(parse_qsl(self.target.partition("?")[2]))

    @property
    def form(self):
        """The parameters of the body, sorted."""
        return sorted(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def bearer(self):
        """The bearer token; ``None`` if there is none."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token if scheme == "Bearer" else None


@dataclass(frozen=True)
class Answer:
    """An answer. A body of bytes is sent unchanged, any other one as JSON.

    :ivar headers: added to ``Date``, ``Content-Type`` and ``Content-Length``, or in place of them;
        those that are ``None`` are left out.
    :ivar closes: whether the connection is closed after it.
    :ivar cut_after: the number of bytes after which the connection is cut; ``None`` for all.
    :ivar reset: whether it is then reset (RST) or closed (FIN), both without TLS's close_notify.
    """

    status: int = 200
    body: object = b""
    headers: dict[str, str | None] = field(default_factory=dict)
    closes: bool = False
    cut_after: int | None = None
    reset: bool = True

    def content(self):
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()

    def raw(self):
        body = self.content()
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": "application/json",
            "Content-Length": len(body),
        } | self.headers
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items() if value is not None]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class LoopbackServer(ThreadingHTTPServer):
    """Serves from its creation to the end of its ``with`` block, with a thread per connection.

    Its port is its own until the end of the block: from :meth:`stop` on, it refuses connections.
    Otherwise a server of another test could take it and answer instead.

    :param tls: the TLS context; ``None`` for plain HTTP.
    :param name: the name or address of this machine in :attr:`origin`.
    :param listens: whether to serve immediately. If not, the port is reserved, but refuses
        connections until :meth:`listen`.

    :ivar received: the requests, in order.
    :ivar connections: the number of accepted connections.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *, tls=None, name="127.0.0.1", listens=True):
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        self.server_bind()
        self.tls = tls
        self._plain_too = False
        self.origin = f"{'http' if tls is None else 'https'}://{name}:{self.server_port}"
        self.received = []
        self.connections = 0
        self._open = set()
        self._reserved = None  # holds the port from stop() to the end of the block
        self._guard = threading.Lock()  # guards connections and _open
        self._thread = None
        if listens:
            self.listen()

    def answer(self, request):
        """Return the :class:`Answer` to *request*: 404, or ``None`` to close the connection."""
        return Answer(404)

    def respond(self, request, send):
        """Answer *request*. A subclass may send the answer before it reads the body."""
        _ = request.body  # a request is recorded once it has arrived completely
        self.received.append(request)
        answer = self.answer(request)
        if answer is not None:
            send(answer)
        return answer is not None and not answer.closes

    def speak_tls(self, context):
        """Accept TLS and plain HTTP on one port from now on."""
        self.tls, self._plain_too = context, True

    def listen(self):
        self.server_activate()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self):
        """Stop serving, and close the open connections. The port refuses new ones."""
        if self._thread is not None:
            self.shutdown()
            self._thread.join(GUARD_SECONDS)
        self.server_close()
        if self._reserved is None:
            self._reserved = socket.socket()
            self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT
            self._reserved.bind(("127.0.0.1", self.server_port))
        with self._guard:
            connections = list(self._open)
        for connection in connections:
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *exc_info):
        self.stop()
        self._reserved.close()

    def finish_request(self, request, client_address):
        """Start TLS on the connection's own thread, so a hanging client delays no other."""
        with self._guard:
            self.connections += 1
        request.settimeout(GUARD_SECONDS)
        tls = self.tls
        if self._plain_too and request.recv(1, socket.MSG_PEEK) != _CLIENT_HELLO:
            tls = None
        with request if tls is None else tls.wrap_socket(request, server_side=True) as connection:
            with self._guard:
                self._open.add(connection)
            try:
                super().finish_request(connection, client_address)
            finally:
                with self._guard:
                    self._open.discard(connection)

    def handle_error(self, request, client_address):
        """Ignore clients that reject the certificate or disconnect."""


class _Handler(BaseHTTPRequestHandler):
    """Reads the requests of one connection, and writes the server's answers."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        headers = {name.lower(): value for name, value in self.headers.items()}
        certificate = None
        if isinstance(self.connection, ssl.SSLSocket):
            certificate = self.connection.getpeercert(binary_form=True)
        port = self.client_address[1]
        request = Request(self.command, self.path, headers, port, self._read_body, certificate)
        if not self.server.respond(request, self._send):
            self.close_connection = True

    do_DELETE = do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - http.server names them

    def _read_body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _send(self, answer):
        raw = answer.raw()
        self.wfile.write(raw[: answer.cut_after])
        if answer.cut_after is not None:
            if answer.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            socket.close(self.connection.detach())
            self.close_connection = True
