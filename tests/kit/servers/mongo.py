"""A MongoDB server on loopback that knows one thing: the mechanism MONGODB-OIDC."""

import struct
import threading

import bson

from kit.servers.raw import Scripted

_OP_REPLY, _OP_QUERY, _OP_MSG = 1, 2004, 2013
_AUTHENTICATION_FAILED, _REAUTHENTICATION_REQUIRED = 18, 391
_HELLO = {
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxBsonObjectSize": 16777216,
    "maxMessageSizeBytes": 48000000,
    "maxWriteBatchSize": 100000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
}


class MongoServer(Scripted):
    """Asks *is_alive* about each token, and again before each command of a connection.

    :ivar tokens: the tokens that were presented, in order.
    """

    def __init__(self, is_alive):
        self.is_alive = is_alive
        self.tokens = []
        self._numbers = iter(range(1, 1_000_000))
        self._guard = threading.Lock()  # guards _numbers
        super().__init__(always=_serve)

    @property
    def uri(self):
        return f"mongodb://127.0.0.1:{self.port}/"

    def next_number(self):
        with self._guard:
            return next(self._numbers)

    def is_granted(self, token):
        """Record *token*; return whether it is alive."""
        self.tokens.append(token)
        return self.is_alive(token)


def _serve(server, sock):
    connection = _Connection(server)
    stream = sock.makefile("rb")
    while head := stream.read(16):
        size, number, _, code = struct.unpack("<iiii", head)
        body = stream.read(size - 16)
        if code == _OP_QUERY:  # the first hello
            text = body[4 : body.index(b"\0", 4)]
            command = bson.decode(body[4 + len(text) + 1 + 8 :])
            said = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(connection.answer(command))
            kind = _OP_REPLY
        else:
            command = bson.decode(body[5:])
            said = struct.pack("<iB", 0, 0) + bson.encode(connection.answer(command))
            kind = _OP_MSG
        sock.sendall(
            struct.pack("<iiii", 16 + len(said), server.next_number(), number, kind) + said
        )


class _Connection:
    """One connection, and the token that it was authenticated with."""

    def __init__(self, server):
        self._server = server
        self._token = None

    def answer(self, command):
        """Return the response to *command*."""
        name = next(iter(command))
        if name in ("hello", "ismaster", "isMaster"):
            return _HELLO | self._speculation(command) | {"ok": 1.0}
        if name == "saslStart":
            return self._start(command) or _error(_AUTHENTICATION_FAILED, "AuthenticationFailed")
        if name != "endSessions" and not (self._token and self._server.is_alive(self._token)):
            return _error(_REAUTHENTICATION_REQUIRED, "ReauthenticationRequired")
        return {"ok": 1.0}

    def _speculation(self, command):
        """Return the outcome of an authentication within ``hello``, if it has one."""
        started = self._start(command.get("speculativeAuthenticate"))
        return {"speculativeAuthenticate": started} if started else {}

    def _start(self, command):
        token = command and bson.decode(command["payload"])["jwt"]
        if not token or not self._server.is_granted(token):
            return None
        self._token = token
        return {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}


def _error(code, name):
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": name}
