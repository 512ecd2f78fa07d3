"""TLS on loopback, with certificates of a CA that a test creates."""

import socket
import ssl

_CLIENT_HELLO = b"\x16"  # RFC 8446 §5.1: the type of the record that opens a handshake
_GUARD_SECONDS = 30


def context_of(authority, *hosts, **validity):
    """Return the TLS context of a server whose certificate *authority* issued for *hosts*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts, **validity).configure_cert(context)
    return context


def teach_tls(server, context):
    """Let *server* accept TLS and plain HTTP on one port.

    The first byte of a connection is checked on its own thread. Call this before the first one.
    """
    serve = server.finish_request

    def finish_request(request, client_address):
        request.settimeout(_GUARD_SECONDS)
        if request.recv(1, socket.MSG_PEEK) != _CLIENT_HELLO:
            serve(request, client_address)
            return
        with context.wrap_socket(request, server_side=True) as secured:
            serve(secured, client_address)

    server.finish_request = finish_request
