"""A stand-in for Entra ID with real TLS: discovery, client credentials, and an API."""

import http.client
import json
import secrets
import socket
import ssl
import struct
import threading
import time
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import trustme

from kit.servers.tls import context_of

TENANT = "0f0e0d0c-1111-2222-3333-444455556666"
CLIENT_ID = "a1b2c3d4-0000-4000-8000-00000000c0de"
SECRET = "s3cr3t~Value.1"

GUARD_SECONDS = 30.0
"""After this time, a wait is considered a hang."""

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True)
class Answer:
    """A scripted answer. A body of bytes is sent unchanged, any other one as JSON.

    :ivar cut_after: the number of bytes after which the connection is cut; ``None`` for all.
    :ivar reset: whether it is then reset (RST) or closed (FIN), both without TLS's close_notify.
    """

    status: int = 200
    body: object = b""
    headers: dict = field(default_factory=dict)
    cut_after: int | None = None
    reset: bool = True

    def raw(self):
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        headers = {"Content-Type": "application/json", "Content-Length": len(body)} | self.headers
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


def cut(after, *, reset=True):
    """Return a script that cuts the server's usual answer after that number of bytes."""
    return lambda own: replace(own, cut_after=after, reset=reset)


def refusal(status, error, number, text):
    """Return a refusal as Entra writes it, with its number at the start of the description."""
    trace = "6f6c0f3b-0000-4000-8000-000000000000"
    stamp = "2026-01-02 03:04:05Z"
    return Answer(
        status,
        {
            "error": error,
            "error_description": (
                f"AADSTS{number}: {text} "
                f"Trace ID: {trace} Correlation ID: {trace} Timestamp: {stamp}"
            ),
            "error_codes": [number],
            "timestamp": stamp,
            "trace_id": trace,
            "correlation_id": trace,
            "error_uri": f"https://login.microsoftonline.com/error?code={number}",
        },
    )


@dataclass(frozen=True)
class TokenRequest:
    """A recorded token request.

    :ivar correlation: the id that msal gives each of its calls.
    """

    form: dict
    correlation: str | None
    wall: float
    monotonic: float


class Entra(ThreadingHTTPServer):
    """One tenant with one application, served on threads of this process.

    :param certified: the host of the certificate.
    :param not_after: when the certificate expires.
    :param listens: whether to serve immediately; otherwise call :meth:`listen`.

    :ivar script: the answers to the next token requests, in order: an :class:`Answer`, or a
        function of the server's usual one. ``discovery_script`` is the same for discovery.
    :ivar outage: the answer to all token requests beyond the script; ``None`` for the usual one.
    :ivar gate: token requests wait while it is not set.
    :ivar refused_calls: the reasons for which the API rejected tokens.
    :ivar connections: the number of accepted connections.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, directory, *, certified="localhost", not_after=None, listens=True):
        super().__init__(("127.0.0.1", 0), _Handler, bind_and_activate=False)
        # The port is reserved, but it refuses connections before listen().
        self.server_bind()
        ca = trustme.CA()
        self.ca_file = str(directory / f"ca-{secrets.token_hex(4)}.pem")
        ca.cert_pem.write_to_path(self.ca_file)
        self._context = context_of(ca, certified, not_after=not_after)
        self._client_context = ssl.create_default_context(cafile=self.ca_file)
        self.authority = f"https://localhost:{self.server_port}"
        self.lifetime_seconds = 3599
        self.clients = {CLIENT_ID: SECRET}
        self.script = deque()
        self.discovery_script = deque()
        self.outage = None
        self.gate = threading.Event()
        self.gate.set()
        self._lock = threading.Lock()  # guards the counts and the tokens
        self._expiries = {}  # by token, on the monotonic clock
        self._in_flight = 0
        self._sockets = set()
        self.requests = []
        self.discoveries = 0
        self.calls = 0
        self.refused_calls = []
        self.most_at_once = 0
        self.connections = 0
        self._thread = None
        if listens:
            self.listen()

    # ---- for tests

    def listen(self):
        self.server_activate()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    def stop(self):
        """Stop serving, and close the open connections."""
        self.gate.set()
        if self._thread is not None:
            self.shutdown()
            self._thread.join(GUARD_SECONDS)
        self.server_close()
        with self._lock:
            connections = list(self._sockets)
        for connection in connections:
            with suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RDWR)

    def __exit__(self, *exc_info):
        self.stop()

    def correlations(self):
        """Return the number of token requests of each call of msal."""
        return Counter(request.correlation for request in self.requests)

    def call(self, token):
        """Call the API with *token*; return the status and the document."""
        connection = http.client.HTTPSConnection(
            "localhost", self.server_port, context=self._client_context, timeout=GUARD_SECONDS
        )
        try:
            connection.request("GET", "/resource", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def revoke_all(self):
        with self._lock:
            self._expiries.clear()

    # ---- answers

    def discovery(self, path):
        with self._lock:
            self.discoveries += 1
            script = self.discovery_script.popleft() if self.discovery_script else None
        tenant = path.split("/")[1]
        if tenant == TENANT:
            base = f"{self.authority}/{TENANT}"
            own = Answer(
                body={
                    "issuer": f"{base}/v2.0",
                    "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                }
            )
        else:
            text = f"Tenant '{tenant}' not found. Check to make sure you have the correct ID."
            own = refusal(400, "invalid_tenant", 90002, text)
        return _scripted(script, own)

    def token(self, form, correlation):
        with self._lock:
            self.requests.append(TokenRequest(form, correlation, time.time(), time.monotonic()))
            number = len(self.requests)
            self._in_flight += 1
            self.most_at_once = max(self.most_at_once, self._in_flight)
            script = self.script.popleft() if self.script else self.outage
        try:
            self.gate.wait(GUARD_SECONDS)
            if isinstance(script, Answer):
                return script
            return _scripted(script, self._result(form, number))
        finally:
            with self._lock:
                self._in_flight -= 1

    def _result(self, form, number):
        scopes = form.get("scope", "").split()
        app = form.get("client_id", "")
        if form.get("grant_type") != "client_credentials":
            return refusal(400, "unsupported_grant_type", 70003, "The grant is not supported.")
        if not all("://" in scope for scope in scopes):
            text = f"The provided value for the input parameter 'scope' is not valid: {scopes}."
            return refusal(400, "invalid_scope", 70011, text)
        if not all(scope.endswith("/.default") for scope in scopes):
            text = f"The provided value for scope {' '.join(scopes)} is not valid."
            return refusal(400, "invalid_scope", 1002012, text)
        if app not in self.clients:
            text = f"Application with identifier '{app}' was not found in the directory."
            return refusal(400, "unauthorized_client", 700016, text)
        if form.get("client_secret") != self.clients[app]:
            # Entra does not repeat the secret, but a logging proxy might.
            text = f"Invalid client secret provided: {form.get('client_secret')}."
            return refusal(401, "invalid_client", 7000215, text)
        token = f"entra-{number}"
        life = self.lifetime_seconds
        with self._lock:
            self._expiries[token] = time.monotonic() + life
        granted = {"token_type": "Bearer", "expires_in": life, "ext_expires_in": life}
        return Answer(body=granted | {"access_token": token})

    def resource(self, authorization):
        now = time.monotonic()
        kind, _, token = (authorization or "").partition(" ")
        with self._lock:
            self.calls += 1
            ends = self._expiries.get(token)
            if kind == "Bearer" and ends is not None and now < ends:
                return Answer(body={"remaining_seconds": ends - now})
            reason = "unknown" if ends is None else f"expired {now - ends:.3f} s ago"
            self.refused_calls.append(reason)
        return Answer(401, {"error": "invalid_token", "error_description": reason})

    # ---- connections

    def finish_request(self, request, client_address):
        """Start TLS on the connection's own thread, so a hanging client delays no other."""
        with self._lock:
            self.connections += 1
        request.settimeout(GUARD_SECONDS)
        with self._context.wrap_socket(request, server_side=True) as connection:
            with self._lock:
                self._sockets.add(connection)
            try:
                super().finish_request(connection, client_address)
            finally:
                with self._lock:
                    self._sockets.discard(connection)

    def handle_error(self, request, client_address):
        """Ignore clients that reject the certificate or disconnect."""


def _scripted(script, own):
    if script is None:
        return own
    return script if isinstance(script, Answer) else script(own)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        if self.path == "/resource":
            self.close_connection = True
            self.send(self.server.resource(self.headers["Authorization"]))
        elif self.path.endswith("/.well-known/openid-configuration"):
            self.send(self.server.discovery(self.path))
        else:
            self.send(Answer(404, b""))

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if self.path != f"/{TENANT}/oauth2/v2.0/token":
            self.send(Answer(404, b""))
            return
        form = {name: values[0] for name, values in parse_qs(body).items()}
        self.send(self.server.token(form, self.headers["client-request-id"]))

    def send(self, answer):
        raw = answer.raw()
        self.wfile.write(raw[: answer.cut_after])
        if answer.cut_after is not None:
            if answer.reset:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
            socket.close(self.connection.detach())
            self.close_connection = True
