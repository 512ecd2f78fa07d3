"""A token endpoint behind real TLS, in a process of its own: its work has its own GIL.

It takes any client, and grants tokens that live as long as the benchmark wants them to.
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
    """Where a client goes; what msal wants to know is ``authority`` and ``ca_file``."""

    base: str
    ca_file: str
    client_id: str = "11111111-2222-3333-4444-555555555555"
    client_secret: str = "the secret of nobody"

    @property
    def token_url(self):
        return f"{self.authority}/oauth2/v2.0/token"

    @property
    def authority(self):
        return f"{self.base}/{TENANT}"


class RunningEndpoint:
    """The handle of a server that runs elsewhere."""

    def __init__(self, pipe, client):
        self._pipe = pipe
        self.client = client

    def play(self, takes, lifetime):
        """Forget what came in so far; be as slow from now on as told."""
        self._pipe.send(("play", takes, lifetime))
        self._pipe.recv()

    def arrivals(self):
        """Return when token requests came in, and how many other requests."""
        self._pipe.send(("arrivals",))
        return self._pipe.recv()


@contextmanager
def token_endpoint():
    """Run the server. Within, its CA is the one that counts, and no proxy does."""
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
    request_queue_size = 512  # a crowd must not wait for a second SYN

    def __init__(self, context):
        super().__init__(("127.0.0.1", 0), _Handler)
        # The handshake is done where the request is read: by the thread of the connection.
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
        """A client that goes away is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body in one packet

    def log_message(self, *args):
        pass

    def do_GET(self):
        """Answer what msal and azure-identity ask before they ask for a token."""
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
