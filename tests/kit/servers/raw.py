"""A server on loopback that sends scripted bytes, also those that HTTP forbids.

A script is a function of the server and a connected socket; it may do anything with them.
"""

import socket
import threading
from contextlib import ExitStack, contextmanager, suppress

from kit.guards import GUARD_SECONDS

CLOSED_PORT = 1
"""A port that refuses connections: no server of any test listens on a privileged one."""


def reply(body, *, status="200 OK", headers=(), times=1):
    """Respond to *times* requests on one connection."""

    def script(server, sock):
        for _ in range(times):
            if not server.read_request(sock):
                return
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            sock.sendall("\r\n".join(lines).encode() + body)

    return script


def drip(content, *, pause=0.02):
    """Send *content* one byte at a time, until the client disconnects."""

    def script(server, sock):
        server.read_request(sock)
        for byte in content:
            if server.stopping.wait(pause):
                return
            sock.sendall(bytes([byte]))

    return script


def without_end(head, piece, pause):
    """Send *head* at once, then *piece* every *pause* seconds, without end."""

    def script(server, sock):
        sock.sendall(head)
        while not server.stopping.wait(pause):
            sock.sendall(piece)

    return script


def silence(server, sock):
    """Accept a connection, and never send anything."""
    server.stopping.wait()


def hang_up(server, sock):
    """Close the connection at the client's first byte."""
    sock.recv(1)


class Scripted:
    """Runs the next script for each connection, on a thread of its own.

    :param always: the script of the connections beyond *scripts*.
    :param wrap: a function of the accepted socket that returns the one to use, such as TLS.
    :param listener: the listening socket; by default one on loopback, with ``port`` and ``url``.

    :ivar requests: the requests that scripts have read.
    :ivar connections: the number of accepted connections.
    :ivar hung_up: released once for each closed connection.
    :ivar stopping: set when the server is about to stop.
    """

    def __init__(self, *scripts, always=None, wrap=None, listener=None):
        self.scripts = list(scripts)
        self._always = always or reply(b"{}")
        self._wrap = wrap or (lambda sock: sock)
        self.requests = []
        self.connections = 0
        self.hung_up = threading.Semaphore(0)
        self.stopping = threading.Event()
        self._sockets = []
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self._address = self._listener.getsockname()
        if listener is None:
            self.port = self._address[1]
            self.url = f"http://127.0.0.1:{self.port}/token"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self):
        while True:
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            self.connections += 1
            script = self.scripts.pop(0) if self.scripts else self._always
            self._sockets.append(sock)
            thread = threading.Thread(target=self._run, args=(script, sock))
            self._threads.append(thread)
            thread.start()

    def _run(self, script, sock):
        with suppress(OSError), sock, self._wrap(sock) as talk:
            talk.settimeout(GUARD_SECONDS)
            self._sockets.append(talk)
            script(self, talk)
        self.hung_up.release()

    def read_request(self, sock):
        """Read and record one request with its body; b"" if the client disconnected."""
        got = b""
        while b"\r\n\r\n" not in got:
            piece = sock.recv(65536)
            if not piece:
                return b""
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        while lengths and len(body) < lengths[0]:
            body += sock.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self):
        """Stop accepting, close the open connections, and wait for the scripts."""
        self.stopping.set()
        with suppress(OSError), socket.socket(self._listener.family) as last:
            last.connect(self._address)  # wakes the thread that accepts
        self._threads[0].join(GUARD_SECONDS)
        for sock in self._sockets:
            with suppress(OSError):  # it may be closed already
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join(GUARD_SECONDS)
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()


@contextmanager
def full_queue():
    """Fill the queue of a listening socket that never accepts, and return the socket."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, ExitStack() as stack:
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.5)
            try:
                waiting.connect(listener.getsockname())
            except TimeoutError:
                break
        yield listener
