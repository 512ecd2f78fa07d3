"""A token endpoint and an API, as a program, which holds answers back on request.

It prints one line of JSON about itself and exits at the end of its standard input.

- ``POST /token`` grants, and counts the request for its client (of HTTP Basic).
- ``GET /api`` accepts the tokens that were granted.
- ``POST /hold/CLIENT`` holds the answer to the client's next request; ``/hold-all/CLIENT`` all.
- ``POST /release/CLIENT`` sends the answers that are held back.
- ``GET /seen`` returns the number of requests and of held answers, by client.
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

changed = threading.Condition()  # guards the attributes below
requests = {}  # client -> requests so far
held = {}  # client -> requests held back now
to_hold = {}  # client -> how many of the next requests to hold
granted = set()


class Handler(BaseHTTPRequestHandler):
    """Handles one connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/seen":
            with changed:
                self.answer(200, {"requests": requests, "held": held})
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.answer(200 if token in granted else 401, {})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        _, command, *names = self.path.split("/")
        if command == "token":
            self.grant()
            return
        with changed:
            to_hold[names[0]] = {"hold": 1, "hold-all": sys.maxsize, "release": 0}[command]
            if command == "release":
                held[names[0]] = 0
            changed.notify_all()
        self.answer(200, {})

    def grant(self):
        credentials = self.headers["Authorization"].removeprefix("Basic ")
        client = base64.b64decode(credentials).decode().partition(":")[0]
        with changed:
            requests[client] = requests.get(client, 0) + 1
            token = f"{client}-{requests[client]}"
            if to_hold.get(client, 0) > 0:
                to_hold[client] -= 1
                held[client] = held.get(client, 0) + 1
                changed.wait_for(lambda: not held[client])
            granted.add(token)
        self.answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """A server with one thread for each connection."""

    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Ignore clients that end in the middle of a request, which is what this server is for."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"issuer": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
