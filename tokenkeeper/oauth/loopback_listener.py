"""Receives the answer to one sign-in on this machine (RFC 8252 §7.3).

A browser sends more than the answer: it asks for icons, looks ahead, and repeats what a person
reloads. So only a GET of the path with the right ``state`` counts, and only the first. Everything
else is answered, and spends nothing.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socketserver
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.authorization_answer import read_answer
from tokenkeeper.oauth.loopback_pages import ANSWERED, DECLINED, OTHER, TWICE, Page

__all__ = ["LoopbackListener", "is_listening"]

HOST = "127.0.0.1"
"""Not ``localhost``, which may be another address (RFC 8252 §8.3)."""

PATH = "/callback"

SERVER = "tokenkeeper"
"""By this, a process recognizes the listener of another one."""

REQUEST_SECONDS = 5.0
"""How long a connection may pause before its request is complete."""

PROBE_SECONDS = 1.0
"""How long a listener of another process may take to answer."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'"
)


def is_listening(port: int) -> bool:
    """Return whether such a listener, of any process, listens on *port* of this machine."""
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_SECONDS)
    try:
        connection.request("HEAD", PATH)  # counts for nothing
        return connection.getresponse().headers.get("Server", "").strip() == SERVER
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class LoopbackListener:
    """Listens on this machine until the answer has come, or it is closed. Thread-safe.

    It accepts connections as soon as it is made, on a daemon thread of its own.

    :param port: the port; ``None`` for a free one.
    :raises InvalidConfigurationError: if the port can't be listened on.
    :ivar redirect_uri: where the server is to send the browser.
    :ivar changed: set when the answer has come, and when this is closed.
    """

    def __init__(self, port: int | None = None) -> None:
        self.changed: threading.Event = threading.Event()
        self._lock = threading.Lock()  # guards the two below
        self._state = ""
        self._answer: str | None = None
        self._is_closed = False
        try:
            self._server = _Server((HOST, port or 0), self)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise InvalidConfigurationError(
                f"nothing can listen on port {port} of this machine: {why}. Use another "
                "redirect_port, or none, for a free one.",
                field="redirect_port",
            ) from None
        self.redirect_uri: str = f"http://{HOST}:{self._server.server_address[1]}{PATH}"
        self._thread = threading.Thread(
            target=self._server.serve_forever,
            kwargs={"poll_interval": 0.05},
            name="tokenkeeper-sign-in",
            daemon=True,
        )
        self._thread.start()

    def expect(self, state: str) -> None:
        """Accept the answer with this ``state`` from now on."""
        self._state = state

    def answer(self) -> str | None:
        """Return the URL that the browser was sent to; ``None`` as long as it was not."""
        return self._answer

    def close(self) -> None:
        """Listen no more. Idempotent."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        self.changed.set()
        if was_closed:
            return
        if self._thread.is_alive():  # not in a forked child, where shutdown() would wait for ever
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def take(self, target: str) -> Page:
        """Take note of a GET of *target*, and return the page to show."""
        path, _, _ = target.partition("?")
        found = read_answer(target)
        if path != PATH or found.problem or not found.is_for(self._state):
            return OTHER
        with self._lock:
            if self._answer is not None:
                return TWICE
            self._answer = self.redirect_uri + target[len(PATH) :]
        self.changed.set()
        return DECLINED if found.error else ANSWERED


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    # A port that was just used stays reserved for a minute, and a client may be registered for it
    # alone. On Windows this would let two programs listen at once.
    allow_reuse_address = os.name == "posix"

    def __init__(self, address: tuple[str, int], listener: LoopbackListener) -> None:
        self.listener = listener
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: a URL may have a code, and browsers hang up at any time."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = REQUEST_SECONDS
    server_version = SERVER
    sys_version = ""

    def do_GET(self) -> None:
        """Show a page; the first answer counts."""
        self._show(self.server.listener.take(self.path))

    def do_HEAD(self) -> None:
        """Show no page, and count nothing: browsers and scanners look ahead."""
        is_known = self.path.partition("?")[0] == PATH
        self._begin(HTTPStatus.OK if is_known else HTTPStatus.NOT_FOUND, 0)

    def _show(self, page: Page) -> None:
        content = page.content()
        self._begin(page.status, len(content))
        self.wfile.write(content)

    def _begin(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.send_header("Connection", "close")
        self.close_connection = True
        with contextlib.suppress(OSError):  # the browser has hung up
            self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base
        """Log nothing: the URL has the code."""
