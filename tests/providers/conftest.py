"""An environment without proxies and CAs, and a stand-in for Entra ID behind real TLS."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
import trustme
from kit.servers.tls import context_of

TENANT = "0f0e0d0c-1111-2222-3333-444455556666"


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv("AZURE_AUTHORITY_HOST", raising=False)


class Entra(ThreadingHTTPServer):
    """Responds to discovery and token requests of one tenant; ``answers`` come before its own."""

    daemon_threads = True

    def __init__(self, ca_file, context):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.ca_file = ca_file
        self.authority = f"https://localhost:{self.server_address[1]}"
        self.token_path = f"/{TENANT}/oauth2/v2.0/token"
        self.token_endpoint = self.authority + self.token_path
        self.requests = []  # the forms of the token requests
        self.discoveries = 0
        self.agents = []  # the User-Agent of each request
        self.answers = []  # (status, headers, body)
        self.discovery_answers = []

    def handle_error(self, request, client_address):
        """Ignore clients that refuse the certificate."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.server.discoveries += 1
        self.server.agents.append(self.headers["User-Agent"])
        if self.server.discovery_answers:
            self.say(*self.server.discovery_answers.pop(0))
        elif not self.path.startswith(f"/{TENANT}/"):
            error = {"error": "invalid_tenant", "error_description": "AADSTS90002: no such tenant"}
            self.say(400, {}, error)
        else:
            base = f"{self.server.authority}/{TENANT}"
            document = {
                "issuer": f"{base}/v2.0",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "token_endpoint": self.server.token_endpoint,
            }
            self.say(200, {}, document)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.agents.append(self.headers["User-Agent"])
        self.server.requests.append({k: v[0] for k, v in parse_qs(body).items()})
        if self.server.answers:
            self.say(*self.server.answers.pop(0))
        else:
            number = len(self.server.requests)
            token = {"token_type": "Bearer", "expires_in": 3599, "access_token": f"entra-{number}"}
            self.say(200, {}, token)

    def say(self, status, headers, body):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | headers).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def entra(tmp_path):
    """Start the stand-in for Entra ID."""
    authority = trustme.CA()
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca_file)
    server = Entra(str(ca_file), context_of(authority, "localhost"))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(20)
    server.server_close()
