"""The rules of docs/explanation/security.md, for every provider that we ship."""

import gzip
import http.client
import json
import logging
import socket

import brotli
import pytest
import requests
from oauth.guarded import (
    GRANT,
    SHIPPED,
    TOKEN,
    Borrowing,
    shows_a_canary,
    what_a_tracker_records,
)

from tokenkeeper.exceptions import TokenAcquisitionError

FOREIGN = "192.0.2.7"  # RFC 5737: reserved for documentation
BROTLI_BOMB = brotli.compress(bytes(50_000_000), quality=1)
GZIP_BOMB = gzip.compress(bytes(50_000_000), compresslevel=1)


UNENCRYPTED = [name for name, each in SHIPPED.items() if each.scheme == "http"]
"""The providers whose requests to this machine are not encrypted."""

GRANTED = [name for name in SHIPPED if not name.endswith("-discovery")]
"""The providers that the server grants a token; discovery grants none."""


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_redirects(asked, make_server, status):
    """A redirect is an error; it is not followed, and its body is not read."""
    other = make_server()

    def endless(server, sock):
        server.read_request(sock)
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {other.url}\r\nContent-Length: 900000\r\n\r\n"
        sock.sendall(head.encode() + b"x" * 900_000)

    _, error = asked(endless)
    assert error is not None
    assert other.connections == 0


def test_netrc(asked, grant, tmp_path, monkeypatch):
    """~/.netrc neither adds nor replaces credentials."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    server, _ = asked(grant)
    theirs = b"Basic c29tZWJvZHk6ZWxzZQ=="
    assert server.requests
    assert not any(theirs in request for request in server.requests)


def test_cookies(make_server, asked):
    """A cookie from the server is neither sent back nor left in the caller's session."""
    cookie = make_server.reply(json.dumps(GRANT).encode(), headers=["Set-Cookie: a=b; Path=/"])
    server, _ = asked(cookie, cookie, times=2)
    assert server.requests
    assert not any(b"\r\ncookie:" in request.lower() for request in server.requests)


def test_connections(asked, grant, make_server):
    """A connection is used for one request, even if the server would accept more."""
    server, _ = asked(make_server.reply(json.dumps(GRANT).encode(), times=2))
    assert server.connections == len(server.requests)


def test_compression_is_not_asked_for(asked, grant):
    """Requests ask for an uncompressed response."""
    server, _ = asked(grant)
    for request in server.requests:
        assert request.lower().count(b"\r\naccept-encoding: identity\r\n") == 1
        assert request.lower().count(b"\r\naccept-encoding:") == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "content",
    [
        b"HTTP/1.1 200 " + b"O" * 10_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000,
        b"HTTP/1.1 307 Moved\r\nLocation: /\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
        b"",
    ],
    ids=["status line", "headers", "continue", "body", "chunks", "redirect", "silence"],
)
def test_total_time(asked, make_server, content):
    """A slow or missing response is abandoned after the total timeout."""

    def script(server, sock):
        make_server.drip(content)(server, sock)
        server.stopping.wait(10)

    server, error = asked(script, read_timeout=8, total_timeout=0.3)
    assert error is not None
    assert error.transient is True
    assert "total_timeout" in str(error)
    server.stopping.set()


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b"x" * (1024 * 1024 + 1), []),
        (GZIP_BOMB, ["Content-Encoding: gzip"]),
        (gzip.compress(GZIP_BOMB), ["Content-Encoding: gzip, gzip"]),
        (BROTLI_BOMB, ["Content-Encoding: br"]),
    ],
    ids=["long", "gzip", "gzip twice", "brotli"],
)
def test_longest_answer(asked, make_server, body, headers):
    """A response of more than 1 MiB after decompression, or in an unknown encoding, is refused."""
    _, error = asked(make_server.reply(body, headers=headers))
    assert error is not None
    assert error.transient is False
    assert "1 MiB" in str(error) or "decompressed" in str(error)


def test_a_503_is_asked_once(asked, make_server):
    """No library repeats a request; that is the keeper's task."""
    busy = make_server.reply(b"", status="503 Busy", headers=["Retry-After: 0"])
    server, error = asked(busy, busy, busy, busy)
    assert error.status_code == 503
    assert sum(b"HTTP/1.1" in request for request in server.requests) == server.connections
    assert server.connections <= 2  # for Entra ID, after the discovery document


def test_plain_http_off_this_machine(asked, monkeypatch):
    """No secret is sent over plain http to another machine; its name is not even resolved."""
    looked_up = []
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda host, *_, **__: looked_up.append(host))
        _, error = asked(url="http://id.example.com/token")
    assert error is not None
    assert "https" in str(error)
    assert looked_up == []


@pytest.mark.parametrize("shipped", UNENCRYPTED, indirect=True)  # https may use the proxy
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_no_proxy_on_this_machine(
    asked, grant, make_server, monkeypatch, shipped, variable, scheme
):
    """Unencrypted requests to this machine never go through a proxy."""
    proxy = make_server()
    monkeypatch.setenv(variable, f"{scheme}://127.0.0.1:{proxy.port}")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server, error = asked(grant)
    assert (error is None) == (shipped is not SHIPPED["issuer-discovery"])
    assert proxy.connections == 0
    assert len(server.requests) == server.connections > 0


# Over https, the certificate shows that it is another machine.
@pytest.mark.parametrize("shipped", UNENCRYPTED, indirect=True)
def test_a_loopback_name_that_leads_elsewhere(asked, make_server, monkeypatch):
    """A loopback name that resolves to another machine gets no request."""
    server = make_server()
    real = socket.socket.getpeername

    def getpeername(sock):
        return (FOREIGN, *real(sock)[1:])

    monkeypatch.setattr(socket.socket, "getpeername", getpeername)
    _, error = asked(url=f"http://localhost:{server.port}/token")
    assert FOREIGN in str(error)
    assert error.transient is False
    assert server.hung_up.acquire(timeout=10)
    assert server.requests in ([], [b""])


@pytest.mark.parametrize(
    "answer",
    [
        b'{"access_token": "%b"}',
        b'HTTP/1.1 200 OK\r\n{"access_token": "%b",\r\n\r\n}',
        b'HTTP/1.1 200 OK\r\nX: y\r\n "%b"\r\nno colon here %b\r\n\r\n{}',
        b'HTTP/1.1 400 Bad\r\nContent-Length: 99\r\n\r\n{"error": "%b"',
        b"HTTP/1.1 200 OK %b\r\nContent-Length: x%b\r\n\r\n",
    ],
    ids=["no head", "no blank line", "odd headers", "cut", "odd length"],
)
def test_no_log_has_an_answer(asked, caplog, capsys, monkeypatch, answer):
    """No library logs any response at any level, and http.client does not print it."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)

    def script(server, sock):
        server.read_request(sock)
        sock.sendall(answer.replace(b"%b", TOKEN.encode()))

    asked(script)
    assert not shows_a_canary(caplog.text)
    printed = capsys.readouterr()
    assert not shows_a_canary(printed.out + printed.err)


@pytest.mark.parametrize("shipped", GRANTED, indirect=True)
@pytest.mark.parametrize(
    "token",
    [f"{TOKEN}\r\nX: y", f"{TOKEN}\xe9", f"{TOKEN} ", "", None, 471],
    ids=["a second header", "not ASCII", "outer space", "empty", "null", "a number"],
)
def test_a_token_that_does_not_fit_into_a_header(asked, make_server, token):
    """A token that can't be sent unchanged is a final error, which does not show it."""
    _, error = asked(make_server.reply(json.dumps(GRANT | {"access_token": token}).encode()))
    assert isinstance(error, TokenAcquisitionError)
    assert error.transient is False
    assert "access_token" in str(error)
    for written in what_a_tracker_records(error):
        assert not shows_a_canary(written), written[:80]


def test_no_log_has_a_good_answer(asked, grant, caplog, capsys, monkeypatch):
    """Neither the secret nor the granted token is logged."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(http.client.HTTPConnection, "debuglevel", 1)
    asked(grant)
    assert not shows_a_canary(caplog.text)
    printed = capsys.readouterr()
    assert not shows_a_canary(printed.out + printed.err)


@pytest.mark.parametrize(
    "fails",
    ["refused", "redirect", "error", "cut", "garbled", "not json", "too long", "foreign"],
)
def test_what_an_error_tracker_records(shipped, asked, make_server, monkeypatch, fails):
    """The local variables of our frames contain no secret, and the error has no context."""
    echo = json.dumps(
        {"error": "invalid_client", "error_description": f"no {shipped.secrets}", "token": TOKEN}
    ).encode()
    scripts = {
        "redirect": make_server.reply(echo, status="307 Moved", headers=["Location: /"]),
        "error": make_server.reply(echo, status="400 Bad"),
        "cut": lambda server, sock: server.read_request(sock),
        "garbled": make_server.reply(echo, headers=["Content-Encoding: gzip"]),
        "not json": make_server.reply(b"{" + echo),
        "too long": make_server.reply(b"x" * (1024 * 1024 + 1)),
    }
    if fails == "refused":
        _, error = asked(url=f"{shipped.scheme}://127.0.0.1:1/token")
    elif fails == "foreign":
        monkeypatch.setattr(socket.socket, "getpeername", lambda _: (FOREIGN, 443), raising=False)
        _, error = asked(scripts["error"])
    else:
        _, error = asked(scripts[fails])
    assert isinstance(error, TokenAcquisitionError)
    assert error.__context__ is None
    for written in what_a_tracker_records(error):
        assert not shows_a_canary(written), written[:80]


def test_the_callers_session_stays_as_it_was(make_server, grant):
    """The connections, cookies and settings of a caller's session are not changed."""
    session = requests.Session()
    session.cookies["theirs"] = "kept"
    session.headers["X-Mine"] = "yes"
    adapters = dict(session.adapters)
    cookie = make_server.reply(json.dumps(GRANT).encode(), headers=["Set-Cookie: a=b; Path=/"])
    server = make_server(cookie)
    provider = SHIPPED["basic"].make(server.url, session=session)
    provider.acquire_token()
    assert b"X-Mine: yes" in server.requests[0]
    assert b"theirs=kept" in server.requests[0]
    assert dict(session.cookies) == {"theirs": "kept"}
    assert dict(session.adapters) == adapters
    assert not any(len(adapter.poolmanager.pools) for adapter in adapters.values())


def test_hooks_of_a_session_see_a_bounded_answer(make_server):
    """A response hook of the caller's session receives at most 1 MiB, within the total timeout."""
    seen = []
    session = requests.Session()
    session.hooks["response"].append(lambda response, **_: seen.append(len(response.content)))
    bomb = make_server.reply(GZIP_BOMB, headers=["Content-Encoding: gzip"])
    server = make_server(bomb, make_server.reply(json.dumps(GRANT).encode()))
    provider = SHIPPED["post"].make(server.url, session=session)
    with pytest.raises(TokenAcquisitionError, match="1 MiB"):
        provider.acquire_token()
    assert provider.acquire_token().access_token == TOKEN
    assert seen == [len(json.dumps(GRANT))]


def test_a_session_s_own_adapter_class(make_server):
    """A caller's adapter keeps its own options, such as a TLS context, and the deadline."""

    class Odd(requests.adapters.HTTPAdapter):
        def __init__(self, wanted):
            self.wanted = wanted  # a copy made by pickling would lose it
            super().__init__()

        def init_poolmanager(self, *args, **options):
            super().init_poolmanager(*args, **options, socket_options=self.wanted)

        def add_headers(self, request, **_):
            request.headers["X-Odd"] = str(len(self.wanted))

    session = requests.Session()
    session.mount("http://", Odd([]))
    server = make_server(make_server.drip(b"HTTP/1.1 200 " + b"O" * 10_000))
    provider = SHIPPED["basic"].make(server.url, session=session, read_timeout=5, total_timeout=0.3)
    with pytest.raises(TokenAcquisitionError, match="total_timeout"):
        provider.acquire_token()
    assert b"X-Odd: 0" in server.requests[0]


def test_a_custom_session_class(make_server, grant):
    """A subclass of Session keeps its own behavior, within the same limits."""

    class Counting(requests.Session):
        def __init__(self):
            super().__init__()
            self.sent = []

        def send(self, request, **options):
            options["allow_redirects"] = True
            self.sent.append(request.url)
            return super().send(request, **options)

    other = make_server()
    redirect = make_server.reply(b"", status="307 Moved", headers=[f"Location: {other.url}"])
    server = make_server(redirect, grant)
    session = Counting()
    provider = SHIPPED["post"].make(server.url, session=session)
    with pytest.raises(TokenAcquisitionError, match="307"):
        provider.acquire_token()
    assert provider.acquire_token().access_token == TOKEN
    assert session.sent == [server.url] * 2
    assert other.connections == 0


@pytest.mark.parametrize("host", ["169.254.169.254", "metadata.google.internal", "[fe80::1]"])
@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ({}, True),
        ({"headers": {"Metadata-Flavor": "Google"}}, True),
        ({"data": b"secret=x"}, False),
        ({"authorization": "Basic abc"}, False),
        ({"headers": {"authorization": "Bearer abc"}}, False),
    ],
)
def test_metadata_servers(make_transport, monkeypatch, host, options, asked):
    """A cloud's metadata server is reached over plain http, without a secret or a proxy."""
    connected = []
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 80))]

    def connect(sock, address):
        connected.append(address[0])
        raise ConnectionRefusedError

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(socket.socket, "connect", connect)
    with pytest.raises(TokenAcquisitionError, match="refused" if asked else "plain http"):
        make_transport().request("GET", f"http://{host}/token", provider_name="api", **options)
    assert connected == (["169.254.169.254"] if asked else [])


def test_a_metadata_server_that_is_elsewhere(make_transport, make_server, monkeypatch):
    """A metadata server's name that resolves to a host on the network gets no request."""
    server = make_server()
    monkeypatch.setattr(
        socket.socket, "getpeername", lambda _: (FOREIGN, server.port), raising=False
    )
    real = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, *rest, **more: real("127.0.0.1", server.port)
    )
    with pytest.raises(TokenAcquisitionError, match=FOREIGN):
        make_transport().request("GET", "http://metadata/token", provider_name="api")
    monkeypatch.undo()


def test_a_table_of_all():
    """Every provider that sends requests is in the table, with and without a session."""
    kinds = {
        type(case.shipped if isinstance(case, Borrowing) else case) for case in SHIPPED.values()
    }
    assert {kind.__name__ for kind in kinds} == {
        *("Generic", "Azure", "AzureDiscovery", "GoogleUser", "GoogleAccount", "GoogleKey"),
        *("Exchange", "Impersonating", "Issuer", "IssuerDiscovery"),
    }
