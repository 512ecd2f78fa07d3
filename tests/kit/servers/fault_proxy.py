"""A proxy on loopback in front of a real server, which injects faults as planned."""

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

SECONDS = 30.0  # after this time there will be no answer
POLL_SECONDS = 0.01  # a thread can't wait for a socket and for a command at once


class Fault(NamedTuple):
    """A fault of one new connection, or of one request.

    :ivar apply: the function that causes it. Its arguments are the :class:`Connection` and, for a
        fault of a request, the server's answer.
    """

    name: str
    apply: Callable
    at_connection: bool = False

    def __repr__(self):
        return self.name


class ClosedError(Exception):
    """The connection was closed, by the proxy or the client."""


class Connection:
    """A client's connection, and the proxy's connection to the server for it."""

    def __init__(self, proxy, sock):
        self.proxy = proxy
        self.sock = sock
        self.server = None
        self.idle = False
        self.command = None  # a function to call with the idle connection

    def run(self):
        try:
            self._serve()
        except (ClosedError, OSError):
            pass
        finally:
            self.sock.close()
            if self.server is not None:
                self.server.close()

    def _serve(self):
        fault = self.proxy.next_fault(at_connection=True)
        if fault is not None:
            self.proxy.count_attempt()
            fault.apply(self)
            raise ClosedError
        if self.proxy.tls is not None:
            self.shake_hands(self.proxy.tls)
        while True:
            request = self._read_request()
            self.proxy.count_attempt()
            fault = self.proxy.next_fault(at_connection=False)
            answer = self._ask(request)
            if fault is None:
                self.send(answer)
            else:
                fault.apply(self, answer)

    def shake_hands(self, context):
        """Start TLS on the connection."""
        self.sock.settimeout(SECONDS)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.sock.settimeout(None)

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        """Close the connection normally (FIN)."""
        self.sock.close()
        raise ClosedError

    def reset(self):
        """Reset the connection (RST), and drop unsent data."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def stall(self):
        """Send nothing more, and discard received data, until the client closes the connection."""
        self.await_bytes()
        while self.sock.recv(65536):
            pass
        raise ClosedError

    def await_bytes(self):
        """Wait until the client sends data or closes the connection, or the proxy is stopped."""
        while not select.select([self.sock], [], [], POLL_SECONDS)[0]:
            if self.proxy.stopped:
                raise ClosedError
            if self.command is not None:
                self.command(self)

    def _read_request(self):
        self.idle = True
        self.await_bytes()
        self.idle = False
        return _read_message(self.sock)

    def _ask(self, request):
        if self.server is None:
            self.server = socket.create_connection(("127.0.0.1", self.proxy.server_port), SECONDS)
        self.server.sendall(request)
        return _read_message(self.server)


def _read_message(sock):
    """Read a request or an answer, whose length is in ``Content-Length``."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _some(sock)
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += _some(sock)
    return head + b"\r\n\r\n" + body


def _some(sock):
    data = sock.recv(65536)
    if not data:
        raise ClosedError
    return data


class FaultProxy:
    """Forwards requests to a server, one at a time on each connection, with some faults.

    :param server_port: the server's port on loopback.
    :param tls: the TLS context for clients; the connection to the server is plain.
    :ivar connections: the number of accepted connections.
    :ivar attempts: the number of requests, and of connections that failed before one.
    :ivar applied: the names of the applied faults, in order.
    """

    def __init__(self, server_port, tls=None):
        self.server_port = server_port
        self.tls = tls
        self.stopped = False
        self.connections = 0
        self.attempts = 0
        self.applied = []
        self._lock = threading.Lock()  # guards the counts, the plan and the connections
        self._plan = deque()
        self._always = None
        self._open = {}  # connection -> its thread
        self._holder = _bound(0)  # reserves the port while the proxy does not listen
        self.port = self._holder.getsockname()[1]
        self._listener = None
        self.listen()

    def url(self, path="/oauth/token", host="127.0.0.1"):
        """Return the URL of *path* through this proxy."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    # ---- planned faults

    def plan(self, *faults):
        """Apply these faults to the next requests or connections, one each, in order."""
        with self._lock:
            self._plan.extend(faults)

    def always(self, fault):
        """Apply this fault every time once all planned ones were applied."""
        with self._lock:
            self._always = fault

    def clear(self):
        """Remove all faults."""
        with self._lock:
            self._plan.clear()
            self._always = None

    def next_fault(self, *, at_connection):
        """Return the fault to apply now, or ``None``."""
        with self._lock:
            fault = self._plan[0] if self._plan else self._always
            if fault is None or fault.at_connection != at_connection:
                return None
            if self._plan:
                self._plan.popleft()
            self.applied.append(fault.name)
            return fault

    def count_attempt(self):
        """Count an attempt of a client."""
        with self._lock:
            self.attempts += 1

    def refuse(self):
        """Refuse connections until :meth:`listen`."""
        listener, self._listener = self._listener, None
        if listener is not None:
            sock, thread, leave = listener
            leave.set()
            thread.join(SECONDS)
            sock.close()

    def listen(self):
        """Accept connections."""
        sock = _bound(self.port)
        sock.listen(128)
        sock.settimeout(0.02)
        leave = threading.Event()
        thread = threading.Thread(target=self._accept, args=(sock, leave), daemon=True)
        self._listener = sock, thread, leave
        thread.start()

    def drop_idle(self, how):
        """Close all idle connections; *how* is ``Connection.close`` or ``.reset``."""
        with self._lock:
            idle = [
                (connection, thread) for connection, thread in self._open.items() if connection.idle
            ]
        for connection, _ in idle:
            connection.command = how
        for _, thread in idle:
            thread.join(SECONDS)
        return len(idle)

    # ---- connections

    @property
    def open(self):
        """The number of open connections, as far as the proxy knows."""
        with self._lock:
            return len(self._open)

    def _accept(self, listener, leave):
        while not leave.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self, sock)
            thread = threading.Thread(target=self._receive, args=(connection,), daemon=True)
            with self._lock:
                self.connections += 1
                self._open[connection] = thread
            thread.start()

    def _receive(self, connection):
        try:
            connection.run()
        finally:
            with self._lock:
                del self._open[connection]

    def stop(self):
        """Stop the proxy, and wait until all its connections are closed."""
        self.stopped = True
        self.refuse()
        self._holder.close()
        with self._lock:
            connections = list(self._open.items())
        for connection, thread in connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.stop()


def _bound(port):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


# ---- faults of connections


def _garbage(connection):
    connection.await_bytes()
    connection.sock.recv(65536)
    connection.send(b"\x15\x99\x99 this is no TLS at all\r\n")
    connection.close()


def _after_hello(end):
    def apply(connection):
        connection.await_bytes()
        connection.sock.recv(65536)  # read the ClientHello, or the close would become a reset
        end(connection)

    return apply


def certificate(context):
    """Return the fault of a server with the certificate of *context*."""

    def apply(connection):
        connection.shake_hands(context)
        connection.stall()

    return Fault("certificate", apply, at_connection=True)


RESET_AT_ONCE = Fault("reset_at_once", Connection.reset, at_connection=True)
CLOSE_AT_ONCE = Fault("close_at_once", Connection.close, at_connection=True)
STALL_AT_ONCE = Fault("stall_at_once", Connection.stall, at_connection=True)
GARBAGE = Fault("garbage", _garbage, at_connection=True)
RESET_AFTER_HELLO = Fault("reset_after_hello", _after_hello(Connection.reset), at_connection=True)
CLOSE_AFTER_HELLO = Fault("close_after_hello", _after_hello(Connection.close), at_connection=True)

# ---- faults of answers


def head_and_body(answer):
    """Return the head of *answer*, with its empty line, and the body."""
    head, line, body = answer.partition(b"\r\n\r\n")
    return head + line, body


def cut(name, end, place):
    """Return the fault of an answer that is sent up to *place*, followed by *end*.

    :param place: "nothing", "head" (inside the first header), "body" (its middle) or "all".
    """

    def apply(connection, answer):
        head, body = head_and_body(answer)
        places = {"nothing": 0, "head": head.index(b"\r\n") + 7, "body": len(head) + len(body) // 2}
        connection.send(answer[: places.get(place, len(answer))])
        end(connection)

    return Fault(name, apply)


def changed(name, change, end=None):
    """Return the fault of an answer with bytes changed by *change*, followed by *end*."""

    def apply(connection, answer):
        connection.send(change(answer))
        if end is not None:
            end(connection)

    return Fault(name, apply)


def drip(pause_seconds):
    """Return the fault of an answer that is sent byte by byte."""

    def apply(connection, answer):
        for index in range(len(answer)):
            if connection.proxy.stopped:
                raise ClosedError
            connection.send(answer[index : index + 1])
            time.sleep(pause_seconds)

    return Fault("drip", apply)


def flipped(place, bits=0x80):
    """Return the fault of an answer with one wrong byte.

    :param place: the byte's index, or a function that finds it in the answer.
    """

    def change(answer):
        index = place(answer) if callable(place) else place
        return answer[:index] + bytes([answer[index] ^ bits]) + answer[index + 1 :]

    return changed("flipped", change)


def chunked(answer, size=None):
    """Return *answer* in two chunks (RFC 9112 §7.1); *size* replaces the size of the second."""
    head, body = head_and_body(with_length(answer, None))
    head = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = body[: len(body) // 2], body[len(body) // 2 :]
    sizes = [b"%x" % len(piece) for piece in pieces]
    if size is not None:
        sizes[1] = size
    chunks = [each + b"\r\n" + piece + b"\r\n" for each, piece in zip(sizes, pieces, strict=True)]
    return head + b"".join(chunks) + b"0\r\n\r\n"


def with_length(answer, more):
    """Return *answer* with a ``Content-Length`` of *more* bytes than the body, or without one."""
    head, body = head_and_body(answer)
    lines = [line for line in head[:-4].split(b"\r\n") if line[:15].lower() != b"content-length:"]
    if more is not None:
        lines.append(b"Content-Length: %d" % (len(body) + more))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _twice_with_a_pause(connection, answer):
    connection.send(answer)
    time.sleep(0.05)  # the client has read the first one by now, or reads both
    connection.send(answer)


def _half(answer):
    head, body = head_and_body(with_length(answer, None))
    return head + body[: len(body) // 2]


RESET_BEFORE = cut("reset_before", Connection.reset, "nothing")
RESET_IN_HEAD = cut("reset_in_head", Connection.reset, "head")
RESET_IN_BODY = cut("reset_in_body", Connection.reset, "body")
RESET_AFTER = cut("reset_after", Connection.reset, "all")
CLOSE_BEFORE = cut("close_before", Connection.close, "nothing")
CLOSE_AFTER = cut("close_after", Connection.close, "all")
TRUNCATE_HEAD = cut("truncate_head", Connection.close, "head")
TRUNCATE_BODY = cut("truncate_body", Connection.close, "body")
TRUNCATE_WITHOUT_LENGTH = changed("truncate_without_length", _half, Connection.close)
STALL_BEFORE = cut("stall_before", Connection.stall, "nothing")
STALL_IN_HEAD = cut("stall_in_head", Connection.stall, "head")
STALL_IN_BODY = cut("stall_in_body", Connection.stall, "body")
GO_DEAF = cut("go_deaf", Connection.stall, "all")
DUPLICATE = changed("duplicate", lambda answer: answer * 2)
DUPLICATE_LATER = Fault("duplicate_later", _twice_with_a_pause)
TOO_SHORT = changed("too_short", lambda answer: with_length(answer, -7))
TOO_LONG = changed("too_long", lambda answer: with_length(answer, 7))
CHUNKED = changed("chunked", chunked)
NO_CHUNK_SIZE = changed("no_chunk_size", lambda answer: chunked(answer, b"\xb2z"))
CHUNK_TOO_LONG = changed("chunk_too_long", lambda answer: chunked(answer, b"fff"))
CHUNK_TOO_SHORT = changed("chunk_too_short", lambda answer: chunked(answer, b"5"))
STATUS_LINE = flipped(4)
STATUS_CODE = flipped(9)
JSON_BYTE = flipped(lambda answer: answer.index(b"access_token") + 3)
JSON_BRACE = flipped(lambda answer: answer.index(b"{"), 0x01)
TOKEN_BYTE = flipped(lambda answer: answer.index(b'access_token": "') + 20)
