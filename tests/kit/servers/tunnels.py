"""Proxies that forward everything, as scripts for a :class:`kit.servers.raw.Scripted`."""

import contextlib
import socket
import threading

TUNNELLED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"  # RFC 1928 §6: succeeded


def greet(sock, method=b"\x00"):
    """Read the greeting and the request (RFC 1928 §3, §4); return the port."""
    version, count = sock.recv(2)
    assert version == 5
    sock.recv(count)
    sock.sendall(b"\x05" + method)
    request = sock.recv(262)
    return int.from_bytes(request[-2:], "big")


def tunnel(server, sock):
    """Act as a SOCKS proxy that forwards everything."""
    port = greet(sock)
    server.clients.append(sock.getpeername()[0])
    with socket.create_connection(("127.0.0.1", port)) as far:
        sock.sendall(TUNNELLED)
        forward(sock, far)


def connect(server, sock):
    """Act as an HTTP proxy that forwards everything (RFC 9110 §9.3.6)."""
    port = int(server.read_request(sock).split()[1].rpartition(b":")[2])
    with socket.create_connection(("127.0.0.1", port)) as far:
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        forward(sock, far)


def forward(near, far):
    """Copy everything in both directions, until both sides have closed."""

    def copy(source, target):
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                target.sendall(piece)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=copy, args=(far, near))
    back.start()
    copy(near, far)
    back.join(20)
