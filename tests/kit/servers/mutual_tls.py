"""A token endpoint and an API behind mutual TLS, with tokens bound to certificates (RFC 8705 §3).

It reports the certificate that each request came with, as a server with PKI would see it.
"""

import secrets
import socket
import ssl
import threading
from contextlib import suppress

from kit.servers.base import Answer, LoopbackServer
from kit.servers.tls import context_of, thumbprint


class MutualTlsServer(LoopbackServer):
    """Grants a token to any client, and accepts it with the same certificate only.

    :param authority: the CA that issued the certificates of the server and of its clients.
    :param trusts: the CA of the clients, if it is another one.
    :param required: whether a connection without a certificate is rejected.
    :param version: the newest version of TLS.
    :param oldest: the oldest one.

    :ivar granted: the client and the thumbprint of each token request; ``None`` without one.
    :ivar refused: the number of requests to the API that were answered 401.
    """

    def __init__(self, authority, *, trusts=None, required=True, version=None, oldest=None):
        context = context_of(authority, "127.0.0.1")
        (trusts or authority).configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        if version is not None:
            context.maximum_version = version
        if oldest is not None:
            context.minimum_version = oldest
        self.granted, self.refused = [], 0
        self.bound = {}
        self._count = threading.Lock()  # guards refused
        super().__init__(tls=_Draining(context))

    @property
    def token_url(self):
        return f"{self.origin}/token"

    def answer(self, request):
        seen = request.certificate and thumbprint(request.certificate)
        if request.path == "/token":
            return self._grant(dict(request.form).get("client_id"), seen)
        if self.bound.get(request.bearer, self) == seen:
            return Answer(200, {"x5t#S256": seen})
        with self._count:
            self.refused += 1
        return Answer(401, {"error": "invalid_token"}, {"WWW-Authenticate": "Bearer"})

    def _grant(self, client_id, seen):
        token = secrets.token_urlsafe()
        self.bound[token] = seen
        self.granted.append((client_id, seen))
        return Answer(200, {"access_token": token, "token_type": "Bearer", "expires_in": 3600})


class _Draining:
    """A TLS context whose alerts arrive: a connection that fails is read to its end."""

    def __init__(self, context):
        self._context = context

    def wrap_socket(self, sock, server_side):
        secured = self._context.wrap_socket(
            sock, server_side=server_side, do_handshake_on_connect=False
        )
        try:
            secured.do_handshake()
        except ssl.SSLError:
            # The alert has been sent. Closing with unread data would reset the connection, and a
            # reset overtakes the alert.
            with secured, suppress(OSError):
                while socket.socket.recv(secured, 65536):
                    pass
            raise
        return secured
