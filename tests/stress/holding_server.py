"""A token endpoint and an API in a process of their own, with answers delayed on request.

It prints its issuer as one line of JSON, and exits when its standard input is closed.

- ``POST /token`` grants a token, and counts the request of the client (from HTTP Basic).
- ``GET /api`` accepts the tokens that were granted.
- ``POST /hold/CLIENT`` delays the answer to the client's next request; ``/hold-all/CLIENT`` all
  answers.
- ``POST /release/CLIENT`` sends the delayed answers.
- ``GET /seen`` returns the number of requests and of delayed answers, by client.
"""

import base64
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

changed = threading.Condition()  # guards the variables below
requests = {}  # client -> requests so far
held = {}  # client -> answers that are delayed now
to_hold = {}  # client -> how many of the next answers to delay
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
    """Serves each connection in a thread of its own."""

    request_queue_size = 256

    def handle_error(self, request, client_address):
        """Print nothing: the tests stop clients in the middle of a request on purpose."""


if __name__ == "__main__":
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"issuer": f"http://127.0.0.1:{server.server_port}"}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
