"""nats-server behind a guard that knows which tokens are alive.

nats-server knows one token from its configuration. The guard reads the first command of each
connection, checks its token as an auth callout would, and passes the connection on with the token
that the server knows.
"""

import json
import re
import socket
import socketserver
import threading
from contextlib import suppress

from kit.guards import GUARD_SECONDS
from kit.programs import Program, free_port, program

KNOWN = "known-to-the-server"
CONNECT = re.compile(rb"CONNECT (\{.*?\})\r\n")
VIOLATION = b"-ERR 'Authorization Violation'\r\n"


def start(folder):
    """Start nats-server, and return the program."""
    port = free_port()
    config = folder / "nats.conf"
    config.write_text(f'listen: "127.0.0.1:{port}"\nauthorization {{ token: "{KNOWN}" }}\n')
    command = program("nats-server", "/usr/sbin", package="nats-server")
    return Program(command, "--config", config, port=port, folder=folder)


class Guard(socketserver.ThreadingTCPServer):
    """The guard, from its creation to the end of its ``with`` block.

    :param is_alive: returns whether a token is, as the authorization server's method does.
    :param behind: the running nats-server.

    :ivar refused: how many connections were refused.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, is_alive, behind):
        super().__init__(("127.0.0.1", 0), _Connection)
        self.is_alive = is_alive
        self.behind = behind
        self.refused = 0
        self._guard = threading.Lock()  # guards _open and refused
        self._open = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self):
        return f"nats://127.0.0.1:{self.server_address[1]}"

    def drop(self):
        """Cut all connections, as a server that restarts does."""
        with self._guard:
            connections, self._open = self._open, set()
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def note(self, connection):
        with self._guard:
            self._open.add(connection)

    def refuse(self):
        with self._guard:
            self.refused += 1

    def __exit__(self, *exc_info):
        self.shutdown()
        self._thread.join(GUARD_SECONDS)
        self.drop()
        self.server_close()


class _Connection(socketserver.BaseRequestHandler):
    def handle(self):
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.behind.port)) as server,
        ):
            self.server.note(self.request)
            self.server.note(server)
            self.request.sendall(server.recv(4096))  # the server's INFO
            first = b""
            while (match := CONNECT.search(first)) is None:
                received = self.request.recv(4096)
                if not received:
                    return
                first += received
            options = json.loads(match[1])
            if not self.server.is_alive(options.get("auth_token", "")):
                self.server.refuse()
                self.request.sendall(VIOLATION)
                return
            known = json.dumps(options | {"auth_token": KNOWN}).encode()
            server.sendall(CONNECT.sub(b"CONNECT " + known + b"\r\n", first))
            back = threading.Thread(target=_copy, args=(server, self.request), daemon=True)
            back.start()
            _copy(self.request, server)
            back.join(GUARD_SECONDS)


def _copy(origin, target):
    """Copy bytes until one side closes; then close the other."""
    with suppress(OSError):
        while piece := origin.recv(65536):
            target.sendall(piece)
    for each in (origin, target):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
