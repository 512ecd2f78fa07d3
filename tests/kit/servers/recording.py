"""A token endpoint on loopback that grants everything and records each request."""

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

GRANT = {"access_token": "the-token", "token_type": "Bearer", "expires_in": 3600}


@dataclass
class Request:
    """A recorded request."""

    method: str
    path: str
    query: list
    headers: dict
    body: bytes

    @property
    def form(self):
        return sorted(parse_qsl(self.body.decode(), keep_blank_values=True))


class Recording(ThreadingHTTPServer):
    """A server that runs inside its context. ``answer`` may be changed at any time."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.requests = []
        self.answer = (200, GRANT)
        self.token_url = f"http://127.0.0.1:{self.server_address[1]}/token"

    def __enter__(self):
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self._thread.join(20)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(
            Request(self.command, url.path, sorted(parse_qsl(url.query)), headers, body)
        )
        status, content = self.server.answer
        content = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST  # noqa: N815 - http.server names it
