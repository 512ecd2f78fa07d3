"""Connection failures, and their errors."""

import socket

import pytest
from kit.servers.raw import CLOSED_PORT

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import TokenAcquisitionError


class TestFailures:
    """Requests without a response."""

    def test_refused(self, transport):
        """A refused connection is transient."""
        port = CLOSED_PORT
        error = transport.failure(url=f"http://127.0.0.1:{port}/token?code=hunter2")
        assert f"127.0.0.1:{port}" in str(error)
        assert "refused" in str(error)
        assert error.network_reason == "connection_refused"
        assert error.transient is True
        assert isinstance(error.__cause__, ConnectionRefusedError)
        assert error.__cause__.__traceback__ is None
        assert "hunter2" not in str(error) + repr(error.__cause__)

    @pytest.mark.parametrize(
        "script",
        [
            lambda server, sock: server.read_request(sock),
            lambda server, sock: (
                server.read_request(sock),
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
            ),
            lambda server, sock: (
                server.read_request(sock),
                sock.sendall(b"HTTP/1.1 200 OK\r\nX-A: b"),
            ),
            lambda server, sock: (server.read_request(sock), sock.sendall(b"garbage\r\n\r\n")),
        ],
        ids=["before", "body", "headers", "garbage"],
    )
    def test_broken_off(self, transport, make_server, script):
        """An interrupted or malformed response is transient."""
        error = transport.failure(make_server(script))
        assert error.network_reason == "connection_broken"
        assert error.transient is True

    def test_reset(self, transport, make_server):
        """A reset connection is transient."""

        def reset(server, sock):
            server.read_request(sock)
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )

        error = transport.failure(make_server(reset))
        assert "the connection was interrupted" in str(error)
        assert isinstance(error.__cause__, ConnectionError)

    def test_garbled(self, transport, make_server):
        """A body that does not match its encoding is final."""
        server = make_server(make_server.reply(b"no gzip", headers=["Content-Encoding: gzip"]))
        error = transport.failure(server)
        assert "decompressed" in str(error)
        assert error.network_reason == "bad_answer"

    def test_unknown_host(self, transport, monkeypatch):
        """An unknown host name is reported as such."""

        def resolve(*_, **__):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        error = transport.failure(url="https://id.example.invalid/token")
        assert "DNS" in str(error)
        assert error.network_reason == "dns"
        assert error.transient is True
        assert isinstance(error.__cause__, socket.gaierror)

    def test_no_connection_in_time(self, make_transport, monkeypatch):
        """A connection timeout is reported as such."""

        def connect(*_, **__):
            raise TimeoutError

        monkeypatch.setattr(socket.socket, "connect", connect)
        error = make_transport().failure(url="https://127.0.0.1/token")
        assert "the connection timed out" in str(error)
        assert error.network_reason == "timeout"
        assert error.transient is True

    @pytest.fixture
    def many_addresses(self, monkeypatch):
        """Give a name eight addresses, and record which are tried with which timeout."""
        resolve, tried = socket.getaddrinfo, []

        def eight(host, port, *options, **more):
            if host != "many.example":
                return resolve(host, port, *options, **more)
            near = [f"127.0.0.{n}" for n in range(1, 9)]
            return [found for each in near for found in resolve(each, port, *options, **more)]

        def connect(sock, address):
            tried.append((address[0], sock.gettimeout()))
            self.on_connect(sock)

        monkeypatch.setattr(socket, "getaddrinfo", eight)
        monkeypatch.setattr(socket.socket, "connect", connect)
        return tried

    def test_many_addresses_share_the_total_time(self, make_transport, many_addresses):
        """The addresses of an unreachable host share the total timeout."""
        now = 0.0

        class Clock(type(SYSTEM_CLOCK)):
            def monotonic(self):
                return now

        def wait(sock):
            nonlocal now
            now += sock.gettimeout()
            raise TimeoutError

        self.on_connect = wait
        transport = make_transport(connect_timeout=2, total_timeout=5, clock=Clock())
        error = transport.failure(url="https://many.example/token")
        assert "the connection timed out" in str(error)
        assert error.transient is True
        assert many_addresses == [("127.0.0.1", 2), ("127.0.0.2", 2), ("127.0.0.3", 1)]

    def test_all_addresses_are_tried(self, make_transport, many_addresses):
        """If an address refuses, the next is tried; the last refusal is reported."""

        def refuse(sock):
            raise ConnectionRefusedError

        self.on_connect = refuse
        error = make_transport().failure(url="https://many.example/token")
        assert "refused" in str(error)
        assert [address for address, _ in many_addresses] == [f"127.0.0.{n}" for n in range(1, 9)]

    def test_an_address_with_a_scope(self, make_transport, monkeypatch):
        """A link-local address keeps its scope id, which its text does not contain."""
        tried = []
        found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 443, 0, 7))]

        def connect(sock, address):
            tried.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(socket.socket, "connect", connect)
        assert "refused" in str(make_transport().failure(url="https://near.example/token"))
        assert tried == [("fe80::1", 443, 0, 7)]

    @pytest.mark.parametrize(
        "url", ["https://exa\u3002\u2100mple/", "https://" + "a" * 70 + ".de/"]
    )
    def test_impossible_urls(self, transport, url):
        """An unusable URL is one of our errors too."""
        assert transport.failure(url=url)


class TestProxy:
    """Requests through a proxy."""

    @pytest.mark.parametrize(
        ("status", "says", "transient"),
        [("407 Proxy Authentication Required", "credentials", False), ("502 Bad", "failed", True)],
    )
    def test_refuses(self, transport, make_server, monkeypatch, status, says, transient):
        """A proxy's refusal is distinguished from the server's."""
        proxy = make_server(make_server.reply(b"", status=status))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        error = transport.failure(url="https://id.example.com/token")
        assert says in str(error)
        assert "proxy" in str(error)
        assert error.network_reason == "proxy"
        assert error.transient is transient
        assert proxy.requests[0].startswith(b"CONNECT id.example.com:443")

    def test_drips(self, make_transport, make_server, monkeypatch):
        """A slow response to CONNECT is abandoned after the total timeout."""
        proxy = make_server(make_server.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        transport = make_transport(read_timeout=5, total_timeout=0.3)
        assert transport.failure(url="https://id.example.com/token").transient is True

    @pytest.mark.parametrize("url", ["http://intranet.example/keys", "http://[::1/keys"])
    def test_plain_http_without_a_secret(self, transport, url):
        """Plain http is refused without a secret too, unless a metadata server is meant."""
        with pytest.raises(TokenAcquisitionError, match=r"plain http\. Use https") as raised:
            transport.request("GET", url, provider_name="api")
        assert raised.value.provider_name == "api"
        assert raised.value.transient is False

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("http://intranet.example:8080/token?secret=x", "intranet.example"),
            (" HTTP://intranet.example/token", "intranet.example"),
            ("http://[::1/token", ""),
            ("http:token", ""),
        ],
    )
    def test_the_host_of_a_refused_request(self, transport, url, host):
        """The message names the host, and nothing else of the URL."""
        with pytest.raises(TokenAcquisitionError) as raised:
            transport.post(url=url)
        assert str(raised.value) == (
            f"provider 'api': request to {host} was not sent: anyone on the network could read it "
            "over plain http. Use https."
        )

    def test_plain_http_never_leaves_this_machine(self, transport, make_server, monkeypatch):
        """An unencrypted request never leaves this machine, with or without a proxy."""
        proxy = make_server(make_server.reply(b"by proxy"))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        with pytest.raises(TokenAcquisitionError, match=r"plain http\. Use https") as raised:
            transport.post(url="http://id.example.com/token")
        assert raised.value.transient is False
        assert proxy.connections == 0
