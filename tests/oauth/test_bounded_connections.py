"""Connections that keep a request's time limit and its query, piece by piece."""

import http.client
import logging
import socket

import pytest
from kit.clocks import StoppedClock
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool
from urllib3.exceptions import ConnectTimeoutError

from tokenkeeper.oauth import deadline
from tokenkeeper.oauth.deadline import Budget, ForeignPeerError, is_link_local


@pytest.fixture
def clock():
    """Return a stopped clock; a request has 5 seconds left, and 4 for each read."""
    clock = StoppedClock()
    with Budget(clock, 5.0, 4.0):
        yield clock


def make(host="127.0.0.1", port=80, below=HTTPConnection, **options):
    return deadline._bounded_connections(below)(host, port, **options)


class TestResponses:
    """How a response is read."""

    @pytest.fixture
    def respond(self, make_server, clock):
        """Return a function that sends *content*, closes the connection, and reads the response."""

        def respond(content):
            def script(server, sock):
                server.read_request(sock)
                sock.sendall(content)

            connection = make(port=make_server(script).port)
            connection.request("GET", "/")
            try:
                return connection.getresponse()
            finally:
                connection.close()

        return respond

    def test_headers_that_are_cut_off(self, respond):
        """A connection that closes within the headers is an error."""
        with pytest.raises(http.client.IncompleteRead) as caught:
            respond(b"HTTP/1.1 200 OK\r\nContent-Le")
        assert caught.value.partial == b""

    def test_headers_that_are_garbled(self, respond, caplog):
        """Headers that can't be parsed are not quoted, as they may contain a token."""
        with pytest.raises(http.client.HTTPException) as caught:
            respond(b"HTTP/1.1 200 OK\r\nA: b\r\n hunter2\r\nhunter2 without colon\r\n\r\n")
        assert str(caught.value) == "the headers can't be parsed"
        assert caught.value.__context__ is None
        assert not caplog.records

    def test_headers_that_can_not_be_checked(self, respond, monkeypatch):
        """Headers that urllib3 can't check are garbled too, as it would log them."""

        def check(headers):
            raise TypeError(f"can't check {headers}")

        monkeypatch.setattr(deadline, "assert_header_parsing", check)
        with pytest.raises(http.client.HTTPException, match=r"^the headers can't be parsed$"):
            respond(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n")

    def test_headers_that_are_complete(self, respond):
        """A response whose body ends with its connection is read."""
        response = respond(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\nyes")
        assert (response.headers["A"], response.data) == ("b", b"yes")

    def test_a_response_without_its_body(self, make_server, make_transport):
        """The response to HEAD ends after its headers, whatever length they state."""

        def script(server, sock):
            server.read_request(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
            server.stopping.wait()

        server = make_server(script)
        transport = make_transport(read_timeout=0.5)
        assert transport.request("HEAD", server.url, provider_name="api").body == b""


class TestQueries:
    """The query of a request, which may contain a secret."""

    @pytest.mark.parametrize("query", ["", "?secret=hunter2", "?secret=hunter2?hunter3"])
    def test_it_is_sent_and_not_logged(self, make_server, transport, caplog, query):
        """The server receives the whole query, and urllib3 logs the path without it."""
        caplog.set_level(logging.DEBUG, logger="urllib3")
        server = make_server()
        transport.request("GET", server.url + query, provider_name="api")
        line = server.requests[0].partition(b"\r\n")[0]
        assert line == f"GET /token{query} HTTP/1.1".encode()
        assert '"GET /token HTTP/1.1"' in caplog.text
        assert "hunter" not in caplog.text

    def test_the_arguments_of_http_client(self, clock):
        """Arguments by position and by name reach http.client."""
        connection = make()
        connection.query = "?a=b"
        connection.putrequest("GET", "/token", True, skip_accept_encoding=True)
        assert connection._buffer == [b"GET /token?a=b HTTP/1.1"]

    def test_the_arguments_of_urllib3(self, clock, make_server):
        """Arguments by position reach urllib3."""
        server = make_server(make_server.reply(b"yes"))
        pool = deadline._bounded_pools(HTTPConnectionPool)("127.0.0.1", server.port)
        connection = pool._get_conn()
        response = pool._make_request(connection, "POST", "/token", b"a=b", {"X-A": "b"})
        connection.close()
        assert response.data == b"yes"
        assert server.requests[0].endswith(b"\r\nX-A: b\r\n\r\na=b")


class TestTimeLimits:
    """The timeouts of a connection and of a handshake."""

    @pytest.mark.parametrize(("timeout", "limit"), [(3.0, 3.0), (7.0, 5.0), (None, 5.0)])
    def test_a_new_connection(self, clock, make_server, timeout, limit):
        """A connection has the connect timeout or what is left of the total timeout."""
        sock = make(port=make_server().port, timeout=timeout)._new_conn()
        with sock:
            assert sock.gettimeout() == limit

    def test_no_time_is_left(self, clock):
        """Without time left, no connection is made."""
        clock.now = 5.0
        connection = make(timeout=3.0)
        with pytest.raises(ConnectTimeoutError) as caught:
            connection._new_conn()
        assert caught.value.args == (connection, "the total time for the request is over")

    def test_a_handshake_behind_an_http_proxy(self, make_transport, make_server, monkeypatch):
        """The connect timeout also applies to the handshake with a silent server behind a proxy."""

        def script(server, sock):
            server.read_request(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            server.stopping.wait()

        proxy = make_server(script)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        transport = make_transport(connect_timeout=0.2, read_timeout=2)
        error = transport.failure(url="https://id.example.com/token")
        assert "handshake timed out (connect_timeout of 0.2 s)" in str(error)


class TestAddresses:
    """Which addresses are tried, and which machine may answer."""

    @pytest.fixture
    def asked(self, monkeypatch):
        """Return the names and ports that were resolved."""
        asked = []

        def look_up(host, port, *_):
            asked.append((host, port))
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        return asked

    @pytest.mark.parametrize(
        ("host", "name"), [("id.example", "id.example"), ("[::1]", "::1"), ("XX.example", None)]
    )
    def test_a_name(self, asked, host, name):
        """A name is resolved as it is, without the brackets of IPv6."""
        assert deadline._addresses(host, 443) == ["192.0.2.1"]
        assert asked == [(name or host, 443)]

    @pytest.mark.parametrize(
        ("found", "addresses"),
        [
            ([("192.0.2.1", 443), ("192.0.2.2", 443)], ["192.0.2.1", "192.0.2.2"]),
            ([("2001:db8::1", 443, 0, 0)], ["2001:db8::1"]),
            ([("2001:db8::1", 443, 5, 0)], ["2001:db8::1"]),
            ([("fe80::1", 443, 0, 7)], []),
            ([("192.0.2.1", 443), ("fe80::1", 443, 0, 7)], []),
        ],
    )
    def test_an_address_with_a_scope(self, monkeypatch, found, addresses):
        """If an address needs its scope, none is tried on its own."""
        results = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", where) for where in found]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: results)
        assert deadline._addresses("id.example", 443) == addresses

    @pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("no name")])
    def test_an_unknown_name(self, monkeypatch, error):
        """A name that can't be resolved has no address."""

        def look_up(*_):
            raise error

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        assert deadline._addresses("id.example", 443) == []

    def test_the_port_that_is_resolved(self, asked, clock, monkeypatch):
        """A name is resolved together with the port to connect to."""
        monkeypatch.setattr(HTTPConnection, "_new_conn", lambda _: Peer("192.0.2.1"))
        connection = deadline._bounded_connections(HTTPConnection)("id.example", 8443)
        assert connection._connected().peer == "192.0.2.1"
        assert asked == [("id.example", 8443)]

    def test_a_class_that_connects_in_its_own_way(self, asked, clock):
        """If a caller's class makes its own connections, no name is resolved for it."""

        class Own(HTTPConnection):
            def _new_conn(self):
                return Peer("127.0.0.1")

        assert make("id.example", below=Own)._new_conn().peer == "127.0.0.1"
        assert asked == []

    @pytest.mark.parametrize(
        ("host", "peer", "is_allowed"),
        [
            ("localhost", "127.0.0.1", True),
            ("localhost", "192.0.2.1", False),
            ("localhost", "169.254.169.254", False),
            ("127.0.0.1", "169.254.169.254", False),
            ("metadata.google.internal", "169.254.169.254", True),
            ("metadata.google.internal", "192.0.2.1", False),
            ("metadata.google.internal", "127.0.0.1", True),
        ],
    )
    def test_the_machine_that_answers(self, clock, host, peer, is_allowed):
        """An unencrypted request stays on this machine, or on the link of a metadata server."""
        sock = Peer(peer)

        class Own(HTTPConnection):
            def _new_conn(self):
                return sock

        if is_allowed:
            assert make(host, below=Own)._new_conn() is sock
        else:
            with pytest.raises(ForeignPeerError) as caught:
                make(host, below=Own)._new_conn()
            assert (str(caught.value), caught.value.peer) == (peer, peer)
        assert sock.is_closed is not is_allowed

    @pytest.mark.parametrize(
        ("host", "is_local"),
        [
            *(("169.254.169.254", True), ("169.255.0.1", False), ("X169.254.169.254", False)),
            *(("fe80::1", True), ("[fe80::1]", True), ("fe80::1%eth0", True), ("::1", False)),
            *(("[fe80::1%25eth0]", True), ("metadata", False), ("", False)),
        ],
    )
    def test_link_local_addresses(self, host, is_local):
        """Only an address can be link-local, with or without brackets and a scope."""
        assert is_link_local(host) is is_local


class Peer:
    """A socket that is connected to *peer*."""

    family = socket.AF_INET
    is_closed = False

    def __init__(self, peer):
        self.peer = peer

    def getpeername(self):
        return self.peer, 80

    def settimeout(self, seconds):
        pass

    def close(self):
        self.is_closed = True
