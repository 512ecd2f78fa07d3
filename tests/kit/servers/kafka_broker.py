"""A Kafka broker on loopback that knows one thing: SASL/OAUTHBEARER (RFC 7628, KIP-255, KIP-368).

It serves the oldest version of each request that the clients send before they have topics:
ApiVersions, SaslHandshake, SaslAuthenticate and Metadata.
"""

import struct
import threading
import time
from io import BytesIO

from kit.servers.raw import Scripted

_METADATA, _HANDSHAKE, _API_VERSIONS, _AUTHENTICATE = 3, 17, 18, 36
_VERSIONS = {_METADATA: (0, 1), _HANDSHAKE: (0, 1), _API_VERSIONS: (0, 0), _AUTHENTICATE: (0, 1)}
# librdkafka takes a broker that cannot produce or fetch for one of Kafka 0.8, without SASL.
_NOT_SERVED = {0: (0, 3), 1: (0, 4), 2: (0, 1), 10: (0, 0)}

_UNSUPPORTED_VERSION, _AUTHENTICATION_FAILED = 35, 58


class KafkaBroker(Scripted):
    """Asks *is_alive* about each token, and has one topic, ``orders``.

    :param challenges: whether a rejection is a challenge, which the client acknowledges before it
        gets the error, as RFC 7628 has it and Apache Kafka does. Otherwise it is the error at once.
    :param session_seconds: after this time it closes a connection that was not authenticated
        again, and says so to the client (``connections.max.reauth.ms``); 0 for never.

    :ivar tokens: the tokens that were presented, in order.
    :ivar extensions: the extensions of the last one.
    """

    def __init__(self, is_alive, *, challenges=True, session_seconds=0):
        self._is_alive = is_alive
        self._challenges = challenges
        self.session_seconds = session_seconds
        self.tokens = []
        self.extensions = {}
        self._open = set()
        self._guard = threading.Lock()  # guards _open
        super().__init__(always=_serve)

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def accepts(self, token):
        """Record *token*; return whether it is alive."""
        self.tokens.append(token)
        return self._is_alive(token)

    def drop_connections(self):
        """Close the open connections, as a broker does that restarts."""
        with self._guard:
            for sock in self._open:
                sock.shutdown(2)

    def opened(self, sock, is_open):
        with self._guard:
            (self._open.add if is_open else self._open.discard)(sock)


def _serve(broker, sock):
    broker.opened(sock, is_open=True)
    try:
        connection = _Connection(broker)
        stream = sock.makefile("rb")
        while size := stream.read(4):
            request = BytesIO(stream.read(struct.unpack(">i", size)[0]))
            if connection.expects_token:
                if not connection.accepts(request.read()):
                    return
                sock.sendall(struct.pack(">i", 0))
                continue
            key, version, number = struct.unpack(">hhi", request.read(8))
            _string(request)  # the client's name
            answer = connection.answer(key, version, request)
            if answer is None:
                return
            sock.sendall(struct.pack(">ii", len(answer) + 4, number) + answer)
    finally:
        broker.opened(sock, is_open=False)


class _Connection:
    """One connection's state: whether it is authenticated, and until when.

    :ivar expects_token: whether the next message is a bare token, as after the oldest handshake.
    """

    def __init__(self, broker):
        self._broker = broker
        self.expects_token = False
        self._ends = 0.0
        self._rejected = False

    def answer(self, key, version, request):
        """Return the response's bytes, or ``None`` to close the connection."""
        if key == _API_VERSIONS:
            return _api_versions(version)
        if key == _HANDSHAKE:
            self.expects_token = version == 0
            return struct.pack(">hi", 0, 1) + _encoded("OAUTHBEARER")
        if key == _AUTHENTICATE:
            return self._authenticate(version, _bytes(request))
        if key == _METADATA and time.monotonic() < self._ends:
            return self._metadata(version)
        return None  # as a broker does with a request before, or long after, the authentication

    def _authenticate(self, version, message):
        if self._rejected or not self.accepts(message):
            if not self._rejected and self._broker._challenges:
                self._rejected = True
                return _outcome(version, 0, '{"status":"invalid_token"}')
            return _outcome(version, _AUTHENTICATION_FAILED, "")
        return _outcome(version, 0, "", self._broker.session_seconds)

    def accepts(self, message):
        """Authenticate the connection with the token in *message*, if it is alive."""
        self.expects_token = False
        _, *pairs = message.decode().split("\x01")
        fields = dict(pair.split("=", 1) for pair in pairs if pair)
        token = fields.pop("auth").removeprefix("Bearer ")
        self._broker.extensions = fields
        is_accepted = self._broker.accepts(token)
        seconds = self._broker.session_seconds or float("inf")
        self._ends = time.monotonic() + seconds if is_accepted else 0.0
        return is_accepted

    def _metadata(self, version):
        rack = b"\xff\xff" if version else b""
        controller = struct.pack(">i", 0) if version else b""
        brokers = struct.pack(">ii", 1, 0) + _encoded("127.0.0.1")
        brokers += struct.pack(">i", self._broker.port) + rack
        internal = b"\0" if version else b""
        partition = struct.pack(">hiiiiii", 0, 0, 0, 1, 0, 1, 0)
        topic = struct.pack(">h", 0) + _encoded("orders") + internal
        topics = struct.pack(">i", 1) + topic + struct.pack(">i", 1) + partition
        return brokers + controller + topics


def _api_versions(version):
    error = 0 if version == 0 else _UNSUPPORTED_VERSION
    served = _VERSIONS | _NOT_SERVED
    ranges = (struct.pack(">hhh", key, *span) for key, span in served.items())
    return struct.pack(">hi", error, len(served)) + b"".join(ranges)


def _outcome(version, error, challenge, session_seconds=0):
    message = _encoded("invalid token" if error else "")
    body = struct.pack(">i", len(challenge)) + challenge.encode()
    session = struct.pack(">q", int(session_seconds * 1000)) if version else b""
    return struct.pack(">h", error) + message + body + session


def _encoded(text):
    return struct.pack(">h", len(text)) + text.encode()


def _string(stream):
    (size,) = struct.unpack(">h", stream.read(2))
    return stream.read(max(size, 0)).decode()


def _bytes(stream):
    (size,) = struct.unpack(">i", stream.read(4))
    return stream.read(size)
