"""A stub of SQL Server for logins with tokens: TDS 8.0 (MS-TDS), so inside TLS from the start.

It checks the token of a login, answers a query with the number 42, and any other batch with
nothing.
"""

import socketserver
import struct
import threading
from contextlib import suppress

from kit.guards import GUARD_SECONDS

PRELOGIN, LOGIN, BATCH, ATTENTION, RESPONSE = 0x12, 0x10, 0x01, 0x06, 0x04
LAST = 0x01  # the status of a message's last packet
FED_AUTH = 0x02
END = b"\xff"
DONE = struct.pack("<BHHQ", 0xFD, 0, 0, 0)
INT = struct.pack("<IHB", 0, 0, 0x38)
DIALECT = bytes.fromhex("08000000")  # TDS 8.0


class SqlServer(socketserver.ThreadingTCPServer):
    """Serves from its creation to the end of its ``with`` block, with a thread per connection.

    :param is_alive: returns whether a token is, as the authorization server's method does.
    :param context: the TLS context.

    :ivar logins: the tokens of the logins, in order.
    """

    daemon_threads = True

    def __init__(self, is_alive, context):
        super().__init__(("127.0.0.1", 0), _Session)
        self.is_alive = is_alive
        self.logins = []
        self._context = context
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def port(self):
        return self.server_address[1]

    def finish_request(self, request, client_address):
        """Start TLS on the connection's own thread."""
        request.settimeout(GUARD_SECONDS)
        with suppress(OSError), self._context.wrap_socket(request, server_side=True) as connection:
            super().finish_request(connection, client_address)

    def __exit__(self, *exc_info):
        self.shutdown()
        self._thread.join(GUARD_SECONDS)
        self.server_close()


class _Session(socketserver.StreamRequestHandler):
    def handle(self):
        while (message := self._receive()) is not None:
            kind, body = message
            if kind == PRELOGIN:
                self._send(_prelogin())
            elif kind == LOGIN:
                token = token_in(body)
                self.server.logins.append(token)
                if not self.server.is_alive(token):
                    self._send(_refused())
                    return
                self._send(_granted())
            elif kind == BATCH and "select" in body.decode("utf-16-le", "replace").lower():
                self._send(_number(42))
            elif kind != ATTENTION:
                self._send(DONE)

    def _receive(self):
        """Return the kind and the body of the next message; ``None`` after the last one."""
        body, status = b"", 0
        while not status & LAST:
            header = self.rfile.read(8)
            if len(header) < 8:
                return None
            kind, status, length = struct.unpack(">BBH4x", header)
            body += self.rfile.read(length - 8)
        return kind, body

    def _send(self, body):
        self.wfile.write(struct.pack(">BBHHBB", RESPONSE, LAST, len(body) + 8, 0, 1, 0) + body)


def token_in(login):
    """Return the token of a login: UTF-16, with its length in bytes before it."""
    (offset,) = struct.unpack_from("<H", login, 56)
    (place,) = struct.unpack_from("<I", login, offset)
    while login[place : place + 1] != END:
        feature, size = struct.unpack_from("<BI", login, place)
        data = login[place + 5 : place + 5 + size]
        place += 5 + size
        if feature == FED_AUTH:
            (length,) = struct.unpack_from("<I", data, 1)
            return data[5 : 5 + length].decode("utf-16-le")
    return ""


def _prelogin():
    """Return the version, no encryption beside TLS, and that a token is required."""
    values = {0: b"\x10" + bytes(5), 1: b"\x02", 6: b"\x01"}
    place = 5 * len(values) + 1
    options = b""
    for option, value in values.items():
        options += struct.pack(">BHH", option, place, len(value))
        place += len(value)
    return options + END + b"".join(values.values())


def _text(text):
    return bytes([len(text)]) + text.encode("utf-16-le")


def _counted(kind, body):
    return struct.pack("<BH", kind, len(body)) + body


def _granted():
    acknowledged = b"\x01" + DIALECT + _text("stub") + bytes(4)
    features = struct.pack("<BBI", 0xAE, FED_AUTH, 0) + END
    database = _counted(0xE3, b"\x01" + _text("shop") + _text("master"))
    return database + _counted(0xAD, acknowledged) + features + DONE


def _refused():
    text = "Login failed for user '<token-identified principal>'."
    said = struct.pack("<H", len(text)) + text.encode("utf-16-le") + _text("stub") + _text("")
    failed = struct.pack("<BHHQ", 0xFD, 0x02, 0, 0)
    return _counted(0xAA, struct.pack("<IBB", 18456, 1, 14) + said + bytes(4)) + failed


def _number(value):
    columns = struct.pack("<BH", 0x81, 1) + INT + _text("")
    done = struct.pack("<BHHQ", 0xFD, 0x10, 0xC1, 1)
    return columns + struct.pack("<Bi", 0xD1, value) + done
