"""SOCKS proxies: the total timeout and the limit on responses apply there too."""

import contextlib
import gzip
import socket
import threading

import pytest
import requests
import trustme
from servers.tls import context_of

TUNNELLED = b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"  # RFC 1928 §6: succeeded


@pytest.fixture
def secure(make_server, tmp_path):
    """Return a factory for TLS servers, and the CA file to verify them."""
    authority = trustme.CA()
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    context = context_of(authority, "127.0.0.1")

    def make(*scripts):
        server = make_server(
            *scripts, wrap=lambda sock: context.wrap_socket(sock, server_side=True)
        )
        server.url = server.url.replace("http:", "https:")
        return server

    make.ca_file = str(path)
    return make


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
    with socket.create_connection(("127.0.0.1", port)) as far:
        sock.sendall(TUNNELLED)

        def copy(source, target):
            with contextlib.suppress(OSError):
                while piece := source.recv(65536):
                    target.sendall(piece)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_RDWR)

        back = threading.Thread(target=copy, args=(far, sock))
        back.start()
        copy(sock, far)
        back.join(20)


def drip(content):
    """Respond to the greeting one byte at a time."""

    def script(server, sock):
        sock.recv(262)
        for byte in content:
            if server.stopping.wait(0.02):
                return
            sock.sendall(bytes([byte]))
        server.stopping.wait(10)

    return script


def drip_the_answer(server, sock):
    greet(sock)
    # the address is a name of 255 letters
    for byte in b"\x05\x00\x00\x03\xff" + b"a" * 257:
        if server.stopping.wait(0.02):
            return
        sock.sendall(bytes([byte]))


def silent_tls(server, sock):
    greet(sock)
    sock.sendall(TUNNELLED)
    server.stopping.wait(10)


@pytest.fixture(params=["ours", "theirs"])
def through(request, monkeypatch, make_server, make_transport):
    """Return a factory for transports through a scripted SOCKS proxy."""

    def make(script, **options):
        proxy = make_server(script)
        url = f"socks5h://127.0.0.1:{proxy.port}"
        if request.param == "ours":
            monkeypatch.setenv("HTTPS_PROXY", url)
        else:
            session = requests.Session()
            session.proxies["https"] = url
            options["session"] = session
        return make_transport(**options), proxy

    return make


def test_a_token_comes_through(through, secure, make_server):
    """A request goes through the proxy and gets its response."""
    server = secure(make_server.reply(b"yes"))
    transport, proxy = through(tunnel, verify=secure.ca_file)
    assert transport.post(server).body == b"yes"
    assert (proxy.connections, len(server.requests)) == (1, 1)


@pytest.mark.parametrize(
    "script",
    [drip(b""), drip(b"\x05"), drip_the_answer, silent_tls],
    ids=["silence", "greeting", "answer", "handshake"],
)
def test_a_proxy_that_drips(through, script):
    """The total timeout ends a request through a slow proxy."""
    transport, proxy = through(script, connect_timeout=5, read_timeout=5, total_timeout=0.4)
    error = transport.failure(url="https://id.example.com/token")
    assert error.transient is True
    assert "total_timeout" in str(error)
    proxy.stopping.set()


@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 " + b"O" * 10_000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
    ],
    ids=["status line", "body"],
)
def test_a_server_that_drips_behind_it(through, secure, make_server, content):
    """The total timeout ends a request to a slow server behind the proxy."""
    server = secure(make_server.drip(content))
    transport, _ = through(tunnel, verify=secure.ca_file, read_timeout=5, total_timeout=0.5)
    assert "total_timeout" in str(transport.failure(server))


def test_a_bomb_behind_it(through, secure, make_server):
    """A response that grows too long is refused."""
    bomb = gzip.compress(bytes(50_000_000))
    server = secure(make_server.reply(bomb, headers=["Content-Encoding: gzip"]))
    transport, _ = through(tunnel, verify=secure.ca_file)
    assert "1 MiB" in str(transport.failure(server))


def test_a_proxy_that_refuses(through):
    """A proxy that requires a password is an error at once."""

    def refuse(server, sock):
        with contextlib.suppress(IndexError, ValueError):
            greet(sock, b"\xff")

    transport, _ = through(refuse)
    assert "proxy" in str(transport.failure(url="https://id.example.com/token"))
