"""An MQTT broker that only answers CONNECT: it looks at the password, and keeps the connection."""

import socket
import struct
import threading
from contextlib import suppress


class MQTTStub:
    """Accepts clients whose password is a token that *is_alive*, in MQTT 3.1.1 and 5.

    :param context: the TLS context; by default it speaks plain MQTT.

    :ivar accepted: how many were accepted so far.
    :ivar rejected: how many were rejected.
    """

    def __init__(self, is_alive, context=None):
        self.accepted = self.rejected = 0
        self._is_alive = is_alive
        self._context = context
        self._lock = threading.Lock()  # guards the counters and the connections
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        with suppress(OSError):  # the listener was closed
            while True:
                connection, _ = self._listener.accept()
                if self._context:
                    connection = self._context.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._connections.append(connection)
                threading.Thread(target=self._serve, args=[connection], daemon=True).start()

    def _serve(self, connection):
        with connection, suppress(OSError), connection.makefile("rb") as stream:
            if stream.read(1) != b"\x10":  # CONNECT
                return
            level, password = read_connect(stream)
            alive = self._is_alive(password)
            with self._lock:
                self.accepted += alive
                self.rejected += not alive
            if level == 5:
                connection.sendall(b"\x20\x03\x00" + (b"\0" if alive else b"\x87") + b"\0")
            else:
                connection.sendall(b"\x20\x02\x00" + (b"\0" if alive else b"\5"))
            while alive and stream.read(1):
                pass

    def drop_all(self):
        """Break every connection."""
        with self._lock:
            dropped, self._connections = self._connections, []
        for connection in dropped:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()


def read_connect(stream):
    """Read a CONNECT without a will; return the protocol level and the password."""
    read_varint(stream)
    assert read_field(stream) == b"MQTT"
    level, _, _ = struct.unpack("!BBH", stream.read(4))  # and the flags, and the keepalive
    if level == 5:
        stream.read(read_varint(stream))  # properties
    _client_id, _username, password = (read_field(stream) for _ in range(3))
    return level, password.decode()


def read_varint(stream):
    """Read a number of variable length."""
    value = shift = 0
    while (byte := stream.read(1)[0]) & 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
    return value | byte << shift


def read_field(stream):
    """Read bytes with their length."""
    return stream.read(struct.unpack("!H", stream.read(2))[0])
