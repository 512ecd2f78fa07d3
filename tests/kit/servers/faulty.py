"""A small authorization server with faults that the doctor finds, and a CONNECT proxy."""

import base64
import socket
import threading
import time
from contextlib import suppress
from email.utils import formatdate

from kit.guards import GUARD_SECONDS
from kit.servers.base import Answer, LoopbackServer
from kit.servers.raw import Scripted

SECRET = "s3cr3t~of-the-test"
TOKEN = "the-token-of-the-test"


class FaultyServer(LoopbackServer):
    """Answers each path as configured; the token endpoint is ``/oauth/token``.

    :param context: the TLS context; ``None`` for plain HTTP.

    :ivar documents: a JSON document, or a status and a document, by path.
    :ivar skew: the seconds by which its ``Date`` is ahead; ``None`` for no ``Date``.
    :ivar headers: additional headers of each answer.
    :ivar seen: the method and path of each request, in order.
    """

    def __init__(self, context=None, name="127.0.0.1"):
        super().__init__(tls=context, name=name)
        self.token_url = f"{self.origin}/oauth/token"
        self.skew = 0.0
        self.headers = {}
        self.granted = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}
        self.documents = {}
        self.seen = []

    def publish(self, path="/.well-known/oauth-authorization-server", **changes):
        """Publish metadata (RFC 8414), with *changes*."""
        document = {"issuer": self.origin, "token_endpoint": self.token_url}
        self.documents[path] = document | changes

    def answer(self, request):
        self.seen.append((request.method, request.target))
        if request.method == "POST" and request.target == "/oauth/token":
            found = self.granted
        else:
            found = self.documents.get(request.target, (404, {"error": "not_found"}))
        status, document = found if isinstance(found, tuple) else (200, found)
        date = None if self.skew is None else formatdate(time.time() + self.skew, usegmt=True)
        headers = {"Date": date, "Connection": "close"}
        return Answer(status, document, headers | self.headers, closes=True)


class ConnectProxy(Scripted):
    """An HTTP proxy for CONNECT that connects every host to one port on loopback.

    :param target: the port; ``None`` for a proxy that forbids all hosts.
    :param credentials: the required ``user:password``; ``None`` for no authentication.

    :ivar asked: the requested hosts.
    """

    def __init__(self, target, credentials=None):
        self._target = target
        self._credentials = credentials
        self.asked = []
        super().__init__(always=ConnectProxy._pass_on)

    def _pass_on(self, client):
        head = self.read_request(client)
        if not head.startswith(b"CONNECT "):
            return
        self.asked.append(head.split(b" ")[1].decode())
        refusal = self._refusal(head)
        if refusal:
            client.sendall(f"HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n".encode())
            return
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            server.settimeout(GUARD_SECONDS)
            back = threading.Thread(target=_pump, args=(server, client))
            back.start()
            _pump(client, server)
            back.join(GUARD_SECONDS)

    def _refusal(self, head):
        if self._target is None:
            return "403 Forbidden"
        if self._credentials is not None:
            wanted = base64.b64encode(self._credentials.encode())
            if b"Basic " + wanted not in head:
                return "407 Proxy Authentication Required"
        return None


def _pump(source, sink):
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
