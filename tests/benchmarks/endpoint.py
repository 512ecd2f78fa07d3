"""A token endpoint behind real TLS, in a separate process, so that it has its own GIL.

It accepts any client, and grants tokens with the lifetime that a benchmark sets.
"""

import json
import multiprocessing
import os
import ssl
import tempfile
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TENANT = "0f0e0d0c-1111-2222-3333-444455556666"
PADDING = "x" * 1190
"""Makes a token about as long as a JWT with a few claims: 1.2 KB."""


@dataclass(frozen=True)
class Endpoint:
    """The registration of a client; msal needs ``authority`` and ``ca_file`` of it."""

    base: str
    ca_file: str
    client_id: str = "11111111-2222-3333-4444-555555555555"
    client_secret: str = "a secret that is not checked"

    @property
    def token_url(self):
        return f"{self.authority}/oauth2/v2.0/token"

    @property
    def authority(self):
        return f"{self.base}/{TENANT}"


class RunningEndpoint:
    """The handle of a server in another process."""

    def __init__(self, pipe, client):
        self._pipe = pipe
        self.client = client

    def play(self, takes, lifetime):
        """Forget the requests so far; from now on answer after *takes* seconds."""
        self._pipe.send(("play", takes, lifetime))
        self._pipe.recv()

    def arrivals(self):
        """Return when token requests arrived, and how many other requests did."""
        self._pipe.send(("arrivals",))
        return self._pipe.recv()


@contextmanager
def token_endpoint():
    """Run the server. Meanwhile its CA is trusted, and no proxy is used."""
    fresh = multiprocessing.get_context("spawn")
    ours, theirs = fresh.Pipe()
    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        ca_file = str(Path(folder, "ca.pem"))
        child = fresh.Process(target=_serve, args=(theirs, ca_file))
        child.start()
        theirs.close()
        try:
            base = ours.recv()
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "CURL_CA_BUNDLE"):
                os.environ.pop(name, None)
                os.environ.pop(name.lower(), None)
            os.environ["REQUESTS_CA_BUNDLE"] = ca_file
            yield RunningEndpoint(ours, Endpoint(base, ca_file))
        finally:
            os.environ.clear()
            os.environ.update(before)
            ours.close()
            child.join()


def _serve(pipe, ca_file):
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    server = _Server(context)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    pipe.send(server.base)
    while True:
        try:
            order, *arguments = pipe.recv()
        except EOFError:  # the other end is closed when the load is over
            return
        pipe.send(getattr(server, order)(*arguments))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # many callers must not wait for a second SYN

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), _Handler)
        # The thread of the connection does the handshake, when it reads the request.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.base = f"https://localhost:{self.server_address[1]}"
        self.play(0.0, 3600)

    def play(self, takes, lifetime):
        self.takes, self.lifetime = takes, lifetime
        self.token_requests, self.others = [], []

    def arrivals(self):
        return list(self.token_requests), len(self.others)

    def handle_error(self, request, client_address):
        """Ignore clients that disconnect."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def log_message(self, *args):
        pass

    def do_GET(self):
        """Answer the discovery requests of msal and azure-identity."""
        self.server.others.append(time.monotonic())
        authority = f"{self.server.base}/{TENANT}"
        self._say(
            {
                "issuer": f"{authority}/v2.0",
                "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
                "token_endpoint": f"{authority}/oauth2/v2.0/token",
            }
        )

    def do_POST(self):
        requests = self.server.token_requests
        requests.append(time.monotonic())
        number = len(requests)
        self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.takes)
        self._say(
            {
                "access_token": f"{number}.{time.monotonic_ns()}.{PADDING}",
                "token_type": "Bearer",
                "expires_in": self.server.lifetime,
            }
        )

    def _say(self, answer):
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
