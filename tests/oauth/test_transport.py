"""HTTP as a secret may travel by it, against sockets that misbehave."""

import gzip
import os
import socket
import ssl
import subprocess
import sys
import threading
import zlib
from datetime import UTC, datetime

import pytest
import requests
import trustme
from urllib3.exceptions import InsecureRequestWarning

from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth import transport as transport_module
from tokenkeeper.oauth.transport import HttpTransport


@pytest.fixture
def make_transport():
    """Return a maker of transports, which are closed at the end."""
    made = []

    def make(**options):
        made.append(HttpTransport(**options))
        return made[-1]

    yield make
    for transport in made:
        transport.close()


@pytest.fixture
def transport(make_transport):
    return make_transport()


def post(transport, server, **request):
    url = request.pop("url", None) or server.url
    return transport.request("POST", url, provider_name="api", data={"a": "b c"}, **request)


def failure(transport, server=None, **request):
    with pytest.raises(TokenAcquisitionError) as caught:
        post(transport, server, **request)
    error = caught.value
    assert str(error).startswith("provider 'api': no token: ")
    assert "\n" not in str(error)
    return error


class TestRequest:
    """What is sent."""

    def test_form_and_headers(self, transport, make_server):
        """The form is encoded, and the headers are those given."""
        server = make_server(make_server.reply(b"yes", headers=["X-Some: thing"]))
        answer = post(transport, server, authorization="Basic abc", headers={"Accept": "x/y"})
        assert (answer.status, answer.body, answer.headers["x-some"]) == (200, b"yes", "thing")
        head, _, body = server.requests[0].partition(b"\r\n\r\n")
        assert body == b"a=b+c"
        assert b"Authorization: Basic abc" in head
        assert b"Accept: x/y" in head

    @pytest.mark.parametrize("authorization", [None, "Basic mine"])
    def test_netrc_is_left_alone(
        self, transport, make_server, authorization, tmp_path, monkeypatch
    ):
        """~/.netrc neither adds nor replaces credentials."""
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password else\n")
        netrc.chmod(0o600)
        monkeypatch.setenv("NETRC", str(netrc))
        server = make_server()
        post(transport, server, authorization=authorization)
        headers = [h for h in server.requests[0].split(b"\r\n") if h.startswith(b"Authorization")]
        assert headers == ([b"Authorization: Basic mine"] if authorization else [])

    def test_cookies_are_not_kept(self, transport, make_server):
        """A cookie that a server sets is not sent back."""
        server = make_server(make_server.reply(b"", headers=["Set-Cookie: a=b; Path=/"], times=2))
        post(transport, server)
        post(transport, server)
        assert b"cookie" not in server.requests[1].lower()

    @pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
    def test_redirects_are_not_followed(self, transport, make_server, status):
        """A redirect is an answer, and nothing is sent where it leads."""
        other = make_server()
        headers = [f"Location: {other.url}"]
        server = make_server(make_server.reply(b"", status=f"{status} Moved", headers=headers))
        assert post(transport, server).status == int(status)
        assert other.requests == []

    def test_connections_are_kept(self, transport, make_server):
        """Two requests after each other go over one connection."""
        server = make_server(make_server.reply(b"yes", times=2))
        assert [post(transport, server).body for _ in range(2)] == [b"yes"] * 2
        assert server.connections == 1

    def test_a_connection_that_the_server_closed(self, transport, make_server):
        """An idle connection that was closed behind our back costs no failure."""
        server = make_server(make_server.reply(b"1"), make_server.reply(b"2"))
        assert post(transport, server).body == b"1"
        assert server.hung_up.acquire(timeout=10)
        assert post(transport, server).body == b"2"
        assert server.connections == 2

    def test_chunks(self, transport, make_server):
        """A chunked body is put together."""

        def script(server, sock):
            server.read_request(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            sock.sendall(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

        assert post(transport, make_server(script)).body == b"abcde"

    @pytest.mark.parametrize(
        ("encode", "name"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")]
    )
    def test_compressed(self, transport, make_server, encode, name):
        """A compressed body is decoded."""
        body = encode(b"x" * 1000)
        server = make_server(make_server.reply(body, headers=[f"Content-Encoding: {name}"]))
        assert post(transport, server).body == b"x" * 1000


class TestLimits:
    """Answers without an end."""

    def test_the_longest_body(self, transport, make_server):
        """A body of 1 MiB is read, and one of a byte more is not."""
        longest = transport_module.LONGEST_BODY
        server = make_server(
            make_server.reply(b"x" * longest), make_server.reply(b"x" * (longest + 1))
        )
        assert len(post(transport, server).body) == longest
        assert server.hung_up.acquire(timeout=10)
        error = failure(transport, server)
        assert "longer than 1 MiB" in str(error)
        assert error.transient is False

    def test_a_bomb(self, transport, make_server):
        """A small body that decodes into a huge one is given up early."""
        bomb = gzip.compress(bytes(200_000_000), compresslevel=9)
        server = make_server(make_server.reply(bomb, headers=["Content-Encoding: gzip"]))
        assert "longer than 1 MiB" in str(failure(transport, server))

    @pytest.mark.parametrize(
        "content",
        [
            b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
            b"HTTP/1.1 200 " + b"O" * 10_000,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000,
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000,
        ],
        ids=["headers", "status line", "body", "chunks"],
    )
    def test_a_drip(self, make_transport, make_server, content):
        """A server that sends a byte now and then is given up when the total time is over."""
        transport = make_transport(read_timeout=5, total_timeout=0.3)
        error = failure(transport, make_server(make_server.drip(content)))
        assert "in time (0.3 s at most: total_timeout)" in str(error)
        assert error.transient is True

    def test_a_drip_to_a_session_of_one_s_own(self, make_transport, make_server):
        """With a session of the caller's own a body that drips is given up as well."""
        with requests.Session() as session:
            transport = make_transport(read_timeout=5, total_timeout=0.3, session=session)
            content = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
            error = failure(transport, make_server(make_server.drip(content)))
        assert "in time" in str(error)

    def test_silence(self, make_transport, make_server):
        """A server that says nothing is given up after the read timeout."""
        transport = make_transport(read_timeout=0.1)
        server = make_server(lambda server, sock: server.stopping.wait(10))
        error = failure(transport, server)
        assert "in time (nothing for 0.1 s: read_timeout)" in str(error)
        assert isinstance(error.__cause__, TimeoutError)
        server.stopping.set()


class TestFailures:
    """No answer at all."""

    def test_refused(self, transport):
        """Nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        error = failure(transport, url=f"http://127.0.0.1:{port}/token?code=hunter2")
        assert f"127.0.0.1:{port}" in str(error)
        assert "refused" in str(error)
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
            lambda server, sock: (server.read_request(sock), sock.sendall(b"garbage\r\n\r\n")),
        ],
        ids=["before", "body", "garbage"],
    )
    def test_broken_off(self, transport, make_server, script):
        """An answer that breaks off, or is none, may pass."""
        error = failure(transport, make_server(script))
        assert error.transient is True

    def test_reset(self, transport, make_server):
        """A connection that is reset says so."""

        def reset(server, sock):
            server.read_request(sock)
            sock.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00"
            )

        error = failure(transport, make_server(reset))
        assert "broke off" in str(error)
        assert isinstance(error.__cause__, ConnectionError)

    def test_garbled(self, transport, make_server):
        """A body that is not what its encoding says is final."""
        server = make_server(make_server.reply(b"no gzip", headers=["Content-Encoding: gzip"]))
        assert "decompressed" in str(failure(transport, server))

    def test_unknown_host(self, transport, monkeypatch):
        """A name that does not resolve is told as such."""

        def resolve(*_, **__):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        error = failure(transport, url="https://id.example.invalid/token")
        assert "DNS" in str(error)
        assert error.transient is True
        assert isinstance(error.__cause__, socket.gaierror)

    def test_no_connection_in_time(self, make_transport, monkeypatch):
        """A host that does not answer the knock is told as such."""

        def connect(*_, **__):
            raise TimeoutError

        monkeypatch.setattr(socket.socket, "connect", connect)
        error = failure(make_transport(), url="https://127.0.0.1/token")
        assert "no connection in time" in str(error)
        assert error.transient is True

    @pytest.fixture
    def many_addresses(self, monkeypatch):
        """Let a name have eight addresses, and note down which are tried for how long."""
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
        """A host none of whose addresses answers takes the total time once, not each."""
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
        error = failure(transport, url="https://many.example/token")
        assert "no connection in time" in str(error)
        assert error.transient is True
        assert many_addresses == [("127.0.0.1", 2), ("127.0.0.2", 2), ("127.0.0.3", 1)]

    def test_all_addresses_are_tried(self, make_transport, many_addresses):
        """Where one address refuses the next is tried, and the last one's refusal is told."""

        def refuse(sock):
            raise ConnectionRefusedError

        self.on_connect = refuse
        error = failure(make_transport(), url="https://many.example/token")
        assert "refused" in str(error)
        assert [address for address, _ in many_addresses] == [f"127.0.0.{n}" for n in range(1, 9)]

    def test_an_address_with_a_scope(self, make_transport, monkeypatch):
        """A link-local address keeps its scope, which its text alone would lose."""
        tried = []
        found = [(socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 443, 0, 7))]

        def connect(sock, address):
            tried.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        monkeypatch.setattr(socket.socket, "connect", connect)
        assert "refused" in str(failure(make_transport(), url="https://near.example/token"))
        assert tried == [("fe80::1", 443, 0, 7)]

    @pytest.mark.parametrize(
        "url", ["https://exa\u3002\u2100mple/", "https://" + "a" * 70 + ".de/"]
    )
    def test_impossible_urls(self, transport, url):
        """A URL that can't be asked is one of our errors as well."""
        assert failure(transport, url=url)


class TestProxy:
    """By way of a proxy."""

    @pytest.mark.parametrize(
        ("status", "says", "transient"),
        [("407 Proxy Authentication Required", "credentials", False), ("502 Bad", "failed", True)],
    )
    def test_refuses(self, transport, make_server, monkeypatch, status, says, transient):
        """A proxy that refuses is told from the server behind it."""
        proxy = make_server(make_server.reply(b"", status=status))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        error = failure(transport, url="https://id.example.com/token")
        assert says in str(error)
        assert "proxy" in str(error)
        assert error.transient is transient
        assert proxy.requests[0].startswith(b"CONNECT id.example.com:443")

    def test_drips(self, make_transport, make_server, monkeypatch):
        """A proxy that drips its answer to CONNECT is given up in time."""
        proxy = make_server(make_server.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000))
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        transport = make_transport(read_timeout=5, total_timeout=0.3)
        assert failure(transport, url="https://id.example.com/token").transient is True

    def test_plain(self, transport, make_server, monkeypatch):
        """A plain request goes through the proxy of the environment."""
        proxy = make_server(make_server.reply(b"by proxy"))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        assert post(transport, None, url="http://id.example.com/token").body == b"by proxy"
        assert proxy.requests[0].startswith(b"POST http://id.example.com/token")


class TestTLS:
    """Certificates."""

    @pytest.fixture
    def authority(self):
        return trustme.CA()

    @pytest.fixture
    def ca_file(self, authority, tmp_path):
        path = tmp_path / "ca.pem"
        authority.cert_pem.write_to_path(path)
        return str(path)

    @pytest.fixture
    def secure(self, authority, make_server):
        def make(*scripts, name="127.0.0.1", **validity):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(name, **validity).configure_cert(context)
            server = make_server(
                *scripts, wrap=lambda sock: context.wrap_socket(sock, server_side=True)
            )
            server.url = server.url.replace("http:", "https:")
            return server

        return make

    def test_a_ca_of_one_s_own(self, make_transport, secure, ca_file, make_server, monkeypatch):
        """A CA file by argument counts, whatever the environment says."""
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", os.devnull)
        server = secure(make_server.reply(b"secure", times=2))
        transport = make_transport(verify=ca_file)
        assert [post(transport, server).body for _ in range(2)] == [b"secure"] * 2
        assert server.connections == 1

    @pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
    def test_a_ca_by_the_environment(self, transport, secure, ca_file, monkeypatch, variable):
        """Without an argument the usual variables count."""
        monkeypatch.setenv(variable, ca_file)
        assert post(transport, secure()).status == 200

    def test_a_ca_that_nobody_knows(self, transport, secure):
        """A certificate that can't be verified is final, and says how to mend it."""
        error = failure(transport, secure())
        assert "certificate was not accepted" in str(error)
        assert "verify or REQUESTS_CA_BUNDLE" in str(error)
        assert error.transient is False
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)

    def test_another_host_s_certificate(self, make_transport, secure, ca_file):
        """A certificate of another host says so."""
        error = failure(make_transport(verify=ca_file), secure(name="other.example"))
        assert "check the host" in str(error)
        assert error.transient is False

    def test_an_expired_certificate(self, make_transport, secure, ca_file):
        """An expired certificate may mean that our clock is off."""
        past = datetime(2020, 1, 1, tzinfo=UTC)
        error = failure(make_transport(verify=ca_file), secure(not_after=past))
        assert "this machine's clock" in str(error)

    def test_no_tls_at_all(self, transport, make_server):
        """A port that does not speak TLS is told as such."""
        server = make_server(lambda server, sock: sock.sendall(b"HTTP/1.1 400 Bad\r\n\r\n"))
        error = failure(transport, url=server.url.replace("http:", "https:"))
        assert "TLS failed" in str(error)

    def test_a_ca_file_that_is_not_there(self, make_transport):
        """A CA file that is not there is final, and named as the fault."""
        error = failure(make_transport(verify="/no/such/file"), url="https://127.0.0.1:1/token")
        assert "CA certificates" in str(error)
        assert error.transient is False

    @pytest.mark.parametrize(
        "content",
        [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"],
    )
    def test_a_ca_file_without_a_ca(self, make_transport, secure, tmp_path, content):
        """A CA file that holds no certificate is final, and named as the fault."""
        path = tmp_path / "odd.pem"
        path.write_bytes(content)
        error = failure(make_transport(verify=path), secure())
        assert "file of CA certificates holds none" in str(error)
        assert error.transient is False

    @pytest.mark.parametrize("verify", ["", " ", 0, [], b"ca.pem", 7])
    def test_nothing_switches_verification_off_by_accident(self, verify):
        """A variable that is set to nothing is refused: requests would verify nothing then."""
        with pytest.raises(InvalidConfigurationError, match="verifies nothing") as caught:
            HttpTransport(verify=verify)
        assert caught.value.field == "verify"

    def test_false_does(self, make_transport, secure):
        """False, and it alone, verifies no certificate."""
        with pytest.warns(InsecureRequestWarning):
            assert post(make_transport(verify=False), secure()).status == 200


class TestSession:
    """Whose connections they are."""

    def test_a_session_of_one_s_own_stays_open(self, make_transport, make_server):
        """A session that was handed in is used and never closed."""
        with requests.Session() as session:
            session.headers["X-Mine"] = "yes"
            closed = []
            session.close = lambda: closed.append(True)
            server = make_server()
            transport = make_transport(session=session)
            post(transport, server)
            transport.close()
            assert b"X-Mine: yes" in server.requests[0]
            assert not closed
            del session.close

    def test_close_and_go_on(self, transport, make_server):
        """A closed transport makes a new session when it is used again."""
        server = make_server(make_server.reply(b"1", times=9), make_server.reply(b"2", times=9))
        transport.close()
        assert post(transport, server).body == b"1"
        transport.close()
        transport.close()
        assert post(transport, server).body == b"2"
        transport.close()

    def test_a_child_has_connections_of_its_own(self, transport, make_server):
        """A forked child leaves the parent's connections alone."""
        server = make_server(make_server.reply(b"1", times=9), make_server.reply(b"2", times=9))
        post(transport, server)
        transport.after_fork_in_child()
        server.scripts.insert(0, server.scripts.pop())
        session = transport._live_session()
        assert session is transport._live_session()
        session.close()

    def test_threads_share_one_session(self, transport):
        """However many threads come first, one session is made."""
        sessions, start = set(), threading.Barrier(8)

        def take():
            start.wait(10)
            sessions.add(transport._live_session())

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(sessions) == 1

    @pytest.mark.parametrize("field", ["connect_timeout", "read_timeout", "total_timeout"])
    @pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), 10**400, None, "5", True])
    def test_timeouts_that_can_not_work(self, field, value):
        """A timeout that can't work is refused, naming it."""
        with pytest.raises(InvalidConfigurationError, match=field):
            HttpTransport(**{field: value})


def test_nothing_is_imported_late(make_server):
    """A first request imports nothing: a child forked meanwhile would wait for it for ever."""
    token = b'{"access_token": "abc", "token_type": "Bearer"}'
    server = make_server(make_server.reply(token), make_server.reply(b"<html>"))
    program = """
import sys
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.generic import GenericOAuth2Provider

before = set(sys.modules)
for url in (sys.argv[1], sys.argv[1], "https://b\\u00fccher.invalid/token"):
    try:
        GenericOAuth2Provider(OAuth2Config("api", "me", "secret", url)).acquire_token()
    except TokenAcquisitionError:
        pass
print(sorted(set(sys.modules) - before))
"""
    run = [sys.executable, "-c", program, server.url]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
    assert len(server.requests) == 2
