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

from kit.servers.base import Answer, LoopbackServer

changed = threading.Condition()  # guards the attributes below
requests = {}  # client -> requests so far
held = {}  # client -> requests held back now
to_hold = {}  # client -> how many of the next requests to hold
granted = set()


class HoldingServer(LoopbackServer):
    """Grants to every client, when a test lets it."""

    def answer(self, request):
        if request.target == "/seen":
            with changed:
                return Answer(body={"requests": dict(requests), "held": dict(held)})
        _, command, *names = request.target.split("/")
        if command == "token":
            return self.grant(request)
        if command == "api":
            return Answer(200 if request.bearer in granted else 401, {})
        with changed:
            to_hold[names[0]] = {"hold": 1, "hold-all": sys.maxsize, "release": 0}[command]
            if command == "release":
                held[names[0]] = 0
            changed.notify_all()
        return Answer(body={})

    def grant(self, request):
        credentials = request.headers["authorization"].removeprefix("Basic ")
        client = base64.b64decode(credentials).decode().partition(":")[0]
        with changed:
            requests[client] = requests.get(client, 0) + 1
            token = f"{client}-{requests[client]}"
            if to_hold.get(client, 0) > 0:
                to_hold[client] -= 1
                held[client] = held.get(client, 0) + 1
                changed.wait_for(lambda: not held[client])
            granted.add(token)
        return Answer(body={"access_token": token, "token_type": "Bearer", "expires_in": 3600})


if __name__ == "__main__":
    with HoldingServer() as server:
        sys.stdout.write(json.dumps({"issuer": server.origin}) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
