"""TLS on loopback: certificates of a CA made by the test, and servers that use them."""

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
    """Let *server* serve TLS and plain HTTP on one port, whichever the client begins with.

    Call it before the first connection.
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
