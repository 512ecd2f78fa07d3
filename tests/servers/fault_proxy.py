"""A proxy on loopback in front of a real server, which breaks connections and answers."""

import contextlib
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

SECONDS = 30.0  # who does not answer in this time never will
POLL_SECONDS = 0.01  # a thread can't wait for a socket and for an order at once


class Fault(NamedTuple):
    """What goes wrong with one connection as it is opened, or with one request.

    :ivar strike: does it to a :class:`Link`; gets the server's answer too if it breaks a request.
    """

    name: str
    strike: Callable
    at_connection: bool = False

    def __repr__(self):
        return self.name


class OverError(Exception):
    """The connection was closed, by either side."""


class Link:
    """One connection of a client's, and the one to the server that belongs to it."""

    def __init__(self, proxy, sock):
        self.proxy = proxy
        self.sock = sock
        self.server = None
        self.idle = False
        self.order = None  # what to do with the connection while it is idle

    def run(self):
        try:
            self._serve()
        except (OverError, OSError):
            pass
        finally:
            self.sock.close()
            if self.server is not None:
                self.server.close()

    def _serve(self):
        fault = self.proxy.next_fault(at_connection=True)
        if fault is not None:
            self.proxy.note_try()
            fault.strike(self)
            raise OverError
        if self.proxy.tls is not None:
            self.shake_hands(self.proxy.tls)
        while True:
            request = self._read_request()
            self.proxy.note_try()
            fault = self.proxy.next_fault(at_connection=False)
            answer = self._ask(request)
            if fault is None:
                self.send(answer)
            else:
                fault.strike(self, answer)

    def shake_hands(self, context):
        """Speak TLS from now on."""
        self.sock.settimeout(SECONDS)
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self.sock.settimeout(None)

    def send(self, data):
        self.sock.sendall(data)

    def close(self):
        """Close the connection normally, with FIN."""
        self.sock.close()
        raise OverError

    def reset(self):
        """Reset the connection, and drop everything that was not sent yet."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def stall(self):
        """Send nothing more until the client disconnects, and ignore what it sends."""
        self.await_bytes()
        while self.sock.recv(65536):
            pass
        raise OverError

    def await_bytes(self):
        """Wait for the client to send something, or to go, while the proxy lives."""
        while not select.select([self.sock], [], [], POLL_SECONDS)[0]:
            if self.proxy.stopped:
                raise OverError
            if self.order is not None:
                self.order(self)

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
    """Read a request or an answer, which say with ``Content-Length`` where they end."""
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
        raise OverError
    return data


class FaultProxy:
    """Passes requests on to a server, one at a time on each connection, and breaks some.

    :param server_port: where the server listens on loopback.
    :param tls: a context to speak TLS with to clients; the server is spoken to without.
    :ivar connections: how many were accepted.
    :ivar tries: requests that came, and connections that were broken before one could.
    :ivar struck: the names of the faults that struck, in order.
    """

    def __init__(self, server_port, tls=None):
        self.server_port = server_port
        self.tls = tls
        self.stopped = False
        self.connections = 0
        self.tries = 0
        self.struck = []
        self._lock = threading.Lock()  # guards the counts, the plan and the visits
        self._plan = deque()
        self._always = None
        self._visits = {}  # each with its thread
        self._holder = _bound(0)  # keeps the port reserved while the proxy does not listen
        self.port = self._holder.getsockname()[1]
        self._listener = None
        self.listen()

    def url(self, path="/oauth/token", host="127.0.0.1"):
        """Return the URL of *path* by way of this proxy."""
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    # ---- what goes wrong

    def plan(self, *faults):
        """Have these strike, one after the other; then all is well."""
        with self._lock:
            self._plan.extend(faults)

    def always(self, fault):
        """Have this one strike every time, once the plan has come to its end."""
        with self._lock:
            self._always = fault

    def heal(self):
        """Have nothing strike any more."""
        with self._lock:
            self._plan.clear()
            self._always = None

    def next_fault(self, *, at_connection):
        """Return the fault that strikes now, or ``None``."""
        with self._lock:
            fault = self._plan[0] if self._plan else self._always
            if fault is None or fault.at_connection != at_connection:
                return None
            if self._plan:
                self._plan.popleft()
            self.struck.append(fault.name)
            return fault

    def note_try(self):
        """Count a try of a client's."""
        with self._lock:
            self.tries += 1

    def refuse(self):
        """Accept no connection, until :meth:`listen`."""
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
        """Close all connections that wait for a request: *how* is ``Link.close`` or ``.reset``."""
        with self._lock:
            idle = [(visit, thread) for visit, thread in self._visits.items() if visit.idle]
        for visit, _ in idle:
            visit.order = how
        for _, thread in idle:
            thread.join(SECONDS)
        return len(idle)

    # ---- connections

    @property
    def open(self):
        """How many connections of clients are open, as far as their ends have said."""
        with self._lock:
            return len(self._visits)

    def _accept(self, listener, leave):
        while not leave.is_set():
            try:
                sock, _ = listener.accept()
            except TimeoutError:
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            visit = Link(self, sock)
            thread = threading.Thread(target=self._receive, args=(visit,), daemon=True)
            with self._lock:
                self.connections += 1
                self._visits[visit] = thread
            thread.start()

    def _receive(self, visit):
        try:
            visit.run()
        finally:
            with self._lock:
                del self._visits[visit]

    def stop(self):
        """End it with all its connections, and wait for that."""
        self.stopped = True
        self.refuse()
        self._holder.close()
        with self._lock:
            visits = list(self._visits.items())
        for visit, thread in visits:
            with contextlib.suppress(OSError):
                visit.sock.shutdown(socket.SHUT_RDWR)
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


def _garbage(visit):
    visit.await_bytes()
    visit.sock.recv(65536)
    visit.send(b"\x15\x99\x99 this is no TLS at all\r\n")
    visit.close()


def _after_hello(end):
    def strike(visit):
        visit.await_bytes()
        visit.sock.recv(65536)  # the ClientHello: with it unread a close would be a reset
        end(visit)

    return strike


def certificate(context):
    """Return the fault of a server that shows the certificate of *context*."""

    def strike(visit):
        visit.shake_hands(context)
        visit.stall()

    return Fault("certificate", strike, at_connection=True)


RESET_AT_ONCE = Fault("reset_at_once", Link.reset, at_connection=True)
CLOSE_AT_ONCE = Fault("close_at_once", Link.close, at_connection=True)
STALL_AT_ONCE = Fault("stall_at_once", Link.stall, at_connection=True)
GARBAGE = Fault("garbage", _garbage, at_connection=True)
RESET_AFTER_HELLO = Fault("reset_after_hello", _after_hello(Link.reset), at_connection=True)
CLOSE_AFTER_HELLO = Fault("close_after_hello", _after_hello(Link.close), at_connection=True)

# ---- faults of answers


def head_and_body(answer):
    """Return the two parts of *answer*; the first with the empty line at its end."""
    head, line, body = answer.partition(b"\r\n\r\n")
    return head + line, body


def cut(name, end, place):
    """Return the fault that an answer is sent up to *place*, and then *end* happens.

    :param place: "nothing", "head" for the first header, "body" for that of the body, "all".
    """

    def strike(visit, answer):
        head, body = head_and_body(answer)
        places = {"nothing": 0, "head": head.index(b"\r\n") + 7, "body": len(head) + len(body) // 2}
        visit.send(answer[: places.get(place, len(answer))])
        end(visit)

    return Fault(name, strike)


def changed(name, change, end=None):
    """Return the fault that *change* is done to the bytes of an answer, and then *end* happens."""

    def strike(visit, answer):
        visit.send(change(answer))
        if end is not None:
            end(visit)

    return Fault(name, strike)


def drip(pause_seconds):
    """Return the fault of an answer that comes byte by byte."""

    def strike(visit, answer):
        for index in range(len(answer)):
            if visit.proxy.stopped:
                raise OverError
            visit.send(answer[index : index + 1])
            time.sleep(pause_seconds)

    return Fault("drip", strike)


def flipped(place, bits=0x80):
    """Return the fault that one byte of an answer is another.

    :param place: its index, or a function that finds it in the answer.
    """

    def change(answer):
        index = place(answer) if callable(place) else place
        return answer[:index] + bytes([answer[index] ^ bits]) + answer[index + 1 :]

    return changed("flipped", change)


def chunked(answer, size=None):
    """Return *answer* in two chunks (RFC 9112 §7.1); *size* is said of the second one."""
    head, body = head_and_body(with_length(answer, None))
    head = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
    pieces = body[: len(body) // 2], body[len(body) // 2 :]
    sizes = [b"%x" % len(piece) for piece in pieces]
    if size is not None:
        sizes[1] = size
    chunks = [each + b"\r\n" + piece + b"\r\n" for each, piece in zip(sizes, pieces, strict=True)]
    return head + b"".join(chunks) + b"0\r\n\r\n"


def with_length(answer, more):
    """Return *answer* with a ``Content-Length`` that says *more* bytes than come, or with none."""
    head, body = head_and_body(answer)
    lines = [line for line in head[:-4].split(b"\r\n") if line[:15].lower() != b"content-length:"]
    if more is not None:
        lines.append(b"Content-Length: %d" % (len(body) + more))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _twice_with_a_pause(visit, answer):
    visit.send(answer)
    time.sleep(0.05)  # the client has read the first by now, or reads both: both must do
    visit.send(answer)


def _half(answer):
    head, body = head_and_body(with_length(answer, None))
    return head + body[: len(body) // 2]


RESET_BEFORE = cut("reset_before", Link.reset, "nothing")
RESET_IN_HEAD = cut("reset_in_head", Link.reset, "head")
RESET_IN_BODY = cut("reset_in_body", Link.reset, "body")
RESET_AFTER = cut("reset_after", Link.reset, "all")
CLOSE_BEFORE = cut("close_before", Link.close, "nothing")
CLOSE_AFTER = cut("close_after", Link.close, "all")
TRUNCATE_HEAD = cut("truncate_head", Link.close, "head")
TRUNCATE_BODY = cut("truncate_body", Link.close, "body")
TRUNCATE_UNTOLD = changed("truncate_untold", _half, Link.close)
STALL_BEFORE = cut("stall_before", Link.stall, "nothing")
STALL_IN_HEAD = cut("stall_in_head", Link.stall, "head")
STALL_IN_BODY = cut("stall_in_body", Link.stall, "body")
GO_DEAF = cut("go_deaf", Link.stall, "all")
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
