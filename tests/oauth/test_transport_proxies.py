"""Proxies: tokens come through, and the total timeout and the limit on responses apply."""

import contextlib
import gzip
import socket

import pytest
import requests
import requests.adapters
import socks
import trustme
from kit.servers.tls import context_of
from kit.servers.tunnels import TUNNELLED, connect, greet, tunnel


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
        proxy.clients = []
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


def test_tokens_through_an_http_proxy(make_transport, secure, make_server, monkeypatch):
    """Each request through an HTTP proxy has its own connection and gets its response."""
    server = secure(make_server.reply(b"first"), make_server.reply(b"second"))
    proxy = make_server(connect, connect)
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
    transport = make_transport(verify=secure.ca_file)
    assert [transport.post(server).body for _ in range(2)] == [b"first", b"second"]
    assert proxy.connections == 2


def test_an_unknown_proxy(make_transport, monkeypatch):
    """A SOCKS proxy whose name can't be resolved is a transient error."""

    def resolve(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setenv("HTTPS_PROXY", "socks5h://proxy.example.invalid:1080")
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    error = make_transport().failure(url="https://id.example.com/token")
    assert error.network_reason == "dns"
    assert error.transient is True


def test_an_interrupted_connection(make_transport, monkeypatch):
    """An interrupt while a SOCKS connection is made is raised, and the socket is closed."""
    used = []

    def interrupt(sock, address):
        used.append(sock)
        raise KeyboardInterrupt

    monkeypatch.setenv("HTTPS_PROXY", "socks5h://127.0.0.1:9")
    monkeypatch.setattr(socks.socksocket, "connect", interrupt)
    with pytest.raises(KeyboardInterrupt):
        make_transport().post(url="https://id.example.com/token")
    assert [sock.fileno() for sock in used] == [-1]


def test_the_source_address_of_an_adapter(make_transport, make_server, secure):
    """A SOCKS connection of a caller's adapter keeps the adapter's source address."""

    class Bound(requests.adapters.HTTPAdapter):
        def proxy_manager_for(self, proxy, **options):
            return super().proxy_manager_for(proxy, source_address=("127.0.0.2", 0), **options)

    server = secure(make_server.reply(b"yes"))
    proxy = make_server(tunnel)
    proxy.clients = []
    session = requests.Session()
    session.mount("https://", Bound())
    session.proxies["https"] = f"socks5h://127.0.0.1:{proxy.port}"
    transport = make_transport(session=session, verify=secure.ca_file)
    assert transport.post(server).body == b"yes"
    assert proxy.clients == ["127.0.0.2"]
