"""A small authorization server with faults that the doctor finds, and a CONNECT proxy."""

import base64
import json
import socket
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SECRET = "s3cr3t~of-the-test"
TOKEN = "the-token-of-the-test"
GUARD_SECONDS = 20.0


class FaultyServer(ThreadingHTTPServer):
    """Answers each path as configured; the token endpoint is ``/oauth/token``.

    :param context: the TLS context; ``None`` for plain HTTP.

    :ivar documents: a JSON document, or a status and a document, by path.
    :ivar skew: the seconds by which its ``Date`` is ahead; ``None`` for no ``Date``.
    :ivar headers: additional headers of each answer.
    :ivar seen: the method and path of each request, in order.
    """

    daemon_threads = True

    def __init__(self, context=None, name="127.0.0.1"):
        super().__init__(("127.0.0.1", 0), _Handler)
        self._context = context
        scheme = "http" if context is None else "https"
        self.origin = f"{scheme}://{name}:{self.server_port}"
        self.token_url = f"{self.origin}/oauth/token"
        self.skew = 0.0
        self.headers = {}
        self.granted = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
        self.documents = {}
        self.seen = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def publish(self, path="/.well-known/oauth-authorization-server", **changes):
        """Publish metadata (RFC 8414), with *changes*."""
        document = {"issuer": self.origin, "token_endpoint": self.token_url}
        self.documents[path] = document | changes

    def answer(self, method, path, form):
        self.seen.append((method, path))
        if method == "POST" and path == "/oauth/token":
            return self.granted if isinstance(self.granted, tuple) else (200, self.granted)
        found = self.documents.get(path, (404, {"error": "not_found"}))
        return found if isinstance(found, tuple) else (200, found)

    def finish_request(self, request, client_address):
        request.settimeout(GUARD_SECONDS)
        if self._context is None:
            super().finish_request(request, client_address)
            return
        with self._context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, request, client_address):
        """Ignore clients that reject the certificate."""

    def __exit__(self, *exc_info):
        self.shutdown()
        self._thread.join(GUARD_SECONDS)
        super().__exit__(*exc_info)


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        status, document = self.server.answer(self.command, self.path, body)
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response_only(status)
        if self.server.skew is not None:
            self.send_header("Date", formatdate(time.time() + self.server.skew, usegmt=True))
        headers = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        for name, value in (headers | self.server.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self):
        self.do_POST()


class ConnectProxy:
    """An HTTP proxy for CONNECT that connects every host to one port on loopback.

    :param target: the port; ``None`` for a proxy that forbids all hosts.
    :param credentials: the required ``user:password``; ``None`` for no authentication.

    :ivar asked: the requested hosts.
    """

    def __init__(self, target, credentials=None):
        self._target = target
        self._credentials = credentials
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self):
        while True:
            client, _ = self._listener.accept()
            head = self._head(client)
            if head == b"stop":
                client.close()
                return
            thread = threading.Thread(target=self._pass_on, args=(client, head))
            thread.start()
            self._threads.append(thread)

    def _head(self, client):
        client.settimeout(GUARD_SECONDS)
        got = b""
        while b"\r\n\r\n" not in got and got != b"stop":
            piece = client.recv(65536)
            if not piece:
                break
            got += piece
        return got

    def _pass_on(self, client, head):
        with client, suppress(OSError):
            if not head.startswith(b"CONNECT "):
                return
            self.asked.append(head.split(b" ")[1].decode())
            refusal = self._refusal(head)
            if refusal:
                client.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
                return
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            with socket.create_connection(("127.0.0.1", self._target)) as server:
                server.settimeout(GUARD_SECONDS)
                back = threading.Thread(target=_pump, args=(server, client))
                back.start()
                _pump(client, server)
                back.join(GUARD_SECONDS)

    def _refusal(self, head):
        if self._target is None:
            return "403 Forbidden"
        if self._credentials is not None:
            wanted = base64.b64encode(self._credentials.encode())
            if b"Basic " + wanted not in head:
                return "407 Proxy Authentication Required"
        return None

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        with socket.create_connection(("127.0.0.1", self.port)) as last:
            last.sendall(b"stop")
            for thread in self._threads:
                thread.join(GUARD_SECONDS)
        self._listener.close()


def _pump(source, sink):
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
