"""What a request sends, and what a session keeps."""

import gzip
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from kit.clocks import StoppedClock

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth import sessions
from tokenkeeper.oauth.deadline import ForeignPeerError
from tokenkeeper.oauth.request_style import USER_AGENT
from tokenkeeper.oauth.transport import HttpTransport, is_thrown_in
from tokenkeeper.testing import SteppedClock


class TestRequest:
    """The request."""

    def test_form_and_headers(self, transport, make_server):
        """The form is encoded, and the given headers are sent."""
        server = make_server(make_server.reply(b"yes", headers=["X-Some: thing"]))
        answer = transport.post(server, authorization="Basic abc", headers={"Accept": "x/y"})
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
        transport.post(server, authorization=authorization)
        headers = [h for h in server.requests[0].split(b"\r\n") if h.startswith(b"Authorization")]
        assert headers == ([b"Authorization: Basic mine"] if authorization else [])

    def test_cookies_are_not_kept(self, transport, make_server):
        """A cookie from the server is not sent back."""
        server = make_server(make_server.reply(b"", headers=["Set-Cookie: a=b; Path=/"], times=2))
        transport.post(server)
        transport.post(server)
        assert b"cookie" not in server.requests[1].lower()

    @pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
    def test_redirects_are_not_followed(self, transport, make_server, status):
        """A redirect is returned as a response, and not followed."""
        other = make_server()
        headers = [f"Location: {other.url}"]
        server = make_server(make_server.reply(b"", status=f"{status} Moved", headers=headers))
        assert transport.post(server).status == int(status)
        assert other.requests == []

    def test_no_connection_is_used_twice(self, transport, make_server):
        """Late data on a connection is never read as the response to the next request."""
        server = make_server(make_server.reply(b"1", times=2), make_server.reply(b"2"))
        assert transport.post(server).body == b"1"
        assert server.hung_up.acquire(timeout=10)
        assert transport.post(server).body == b"2"
        assert server.connections == 2

    def test_chunks(self, transport, make_server):
        """A chunked body is joined."""

        def script(server, sock):
            server.read_request(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            sock.sendall(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")

        assert transport.post(make_server(script)).body == b"abcde"

    @pytest.mark.parametrize(
        ("encode", "name"), [(gzip.compress, "gzip"), (zlib.compress, "deflate")]
    )
    def test_compressed(self, transport, make_server, encode, name):
        """A compressed body is decompressed."""
        body = encode(b"x" * 1000)
        server = make_server(make_server.reply(body, headers=[f"Content-Encoding: {name}"]))
        assert transport.post(server).body == b"x" * 1000


class TestSession:
    """Sessions and their connections."""

    def test_a_callers_session_stays_open(self, make_transport, make_server):
        """A caller's session is used and never closed."""
        with requests.Session() as session:
            session.headers["X-Mine"] = "yes"
            closed = []
            session.close = lambda: closed.append(True)
            server = make_server()
            make_transport(session=session).post(server)
            assert b"X-Mine: yes" in server.requests[0]
            assert not closed
            del session.close

    def test_a_child_has_a_session_of_its_own(self):
        """A forked child does not use the parent's session with its locks."""
        before = sessions.our_session()
        sessions.give_back(before)
        sessions._ours.after_fork_in_child()
        assert sessions.our_session() is not before

    def test_a_session_makes_one_request_at_a_time(self):
        """Only an idle session is reused, not one in use or interrupted."""
        first, second = sessions.our_session(), sessions.our_session()
        assert first is not second
        sessions.give_back(second)
        assert sessions.our_session() is second

    def test_a_crowd_of_requests(self, make_transport, make_server, caplog):
        """Many concurrent requests to one host keep no connection, and log no warning."""
        count = 24
        server = make_server(*[make_server.reply(b"yes")] * count)
        start = threading.Barrier(count)

        def post():
            start.wait(10)
            return make_transport().post(server).body

        with ThreadPoolExecutor(count) as pool:
            bodies = [pool.submit(post) for _ in range(count)]
            assert [body.result() for body in bodies] == [b"yes"] * count
        assert server.connections == count
        assert not caplog.records

    @pytest.mark.parametrize("field", ["connect_timeout", "read_timeout", "total_timeout"])
    @pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan"), 10**400, None, "5", True])
    def test_timeouts_that_can_not_work(self, field, value):
        """An invalid timeout is refused by name."""
        with pytest.raises(InvalidConfigurationError, match=f"^{field} ") as caught:
            HttpTransport(**{field: value})
        assert caught.value.field == field


class Double:
    """A stand-in for a session, which records the options of a request."""

    def __init__(self, headers=(), *, clock=None, takes=0.0):
        self.headers = dict(headers)
        self.clock, self.takes = clock, takes

    def request(self, method, url, **options):
        self.options = options
        if self.clock:
            self.clock.step(self.takes)
            raise requests.ReadTimeout
        response = requests.Response()
        response.status_code, response._content = 200, b"yes"
        return response


@pytest.mark.parametrize(
    ("takes", "says"),
    [
        (10.0, "read_timeout of 10 s"),
        (29.5, "read_timeout of 10 s"),
        (30.0, "total_timeout of 30 s"),
        (31.0, "total_timeout of 30 s"),
    ],
)
def test_the_usual_timeouts(make_transport, takes, says):
    """By default 5 s are for the connection, 10 for each read and 30 for all together."""
    clock = SteppedClock()
    double = Double(clock=clock, takes=takes)
    error = make_transport(session=double, clock=clock).failure(url="https://id.example.com/")
    assert double.options["timeout"] == (5.0, 10.0)
    assert f"the response timed out ({says})" in str(error)


def test_the_last_millisecond(make_transport):
    """A socket may wake up early, so the last millisecond counts as over."""
    double = Double(clock=SteppedClock())
    transport = make_transport(session=double, total_timeout=0.001, clock=StoppedClock())
    error = transport.failure(url="https://id.example.com/")
    assert "total_timeout of 0.001 s" in str(error)


def test_how_a_session_is_asked(make_transport):
    """A session is asked for a stream, without redirects, within the shortest timeouts."""
    double = Double()
    make_transport(session=double, total_timeout=2, verify="ca.pem").post(
        url="https://id.example.com/", params={"c": "d"}
    )
    assert double.options.pop("auth")
    assert double.options.pop("headers")
    assert double.options == {
        "data": {"a": "b c"},
        "params": {"c": "d"},
        "timeout": (2, 10.0),
        "allow_redirects": False,
        "stream": True,
        "verify": "ca.pem",
    }


def test_a_name_of_another_machine(make_transport):
    """A loopback name that resolved to another machine is a final error."""
    double = Double()

    def request(*_, **__):
        raise ForeignPeerError("192.0.2.1")

    double.request = request
    error = make_transport(session=double).failure(url="http://localhost:8080/token?a=hunter2")
    assert str(error) == (
        "provider 'api': request to localhost was not sent: the name resolved to 192.0.2.1, which "
        "is not this machine, and the request is not encrypted. Correct the hosts file or the "
        "resolver, or use https."
    )
    assert (error.provider_name, error.network_reason, error.transient) == ("api", "dns", False)


OURS = {"User-Agent": USER_AGENT}
THEIR_LIBRARY = {"User-Agent": requests.utils.default_user_agent()}


@pytest.mark.parametrize(
    ("session", "given", "sent"),
    [
        ({}, {}, OURS),
        (THEIR_LIBRARY, {}, OURS),
        (THEIR_LIBRARY, {"Accept": "x/y"}, OURS | {"Accept": "x/y"}),
        (THEIR_LIBRARY, {"user-agent": "given/1"}, {"user-agent": "given/1"}),
        ({"User-Agent": "mine/1"}, {}, {}),
        ({"User-Agent": "mine/1"}, {"Accept": "x/y"}, {"Accept": "x/y"}),
    ],
)
def test_headers_beside_a_callers_session(make_transport, session, given, sent):
    """Our User-Agent replaces only the library's; responses are never compressed."""
    double = Double(session)
    make_transport(session=double).post(url="https://id.example.com/", headers=given)
    assert double.options["headers"] == {"Accept-Encoding": "identity"} | sent


@pytest.mark.parametrize(
    ("error", "thrown"),
    [
        (requests.ConnectionError("no"), False),
        (OSError("no"), False),
        (ValueError("no"), False),
        (type("Mine", (Exception,), {"__module__": "my_service.limits"})(), True),
        (type("Mine", (TimeoutError,), {"__module__": "my_service.limits"})(), True),
        (KeyboardInterrupt(), True),
    ],
    ids=repr,
)
def test_what_a_host_throws_in(error, thrown):
    """An exception of another package, or one that is not an error, is a host's."""
    assert is_thrown_in(error) is thrown


def test_forks_wait_for_late_imports(make_server):
    """A token is fetched without an import, and one for an error holds up forks.

    A child forked in the middle of an import would wait for it for ever.
    """
    token = b'{"access_token": "abc", "token_type": "Bearer"}'
    odd = b'{"error": "invalid_request", "error_description": "\\\\ud83d &amp; more"}'
    server = make_server(
        make_server.reply(token),
        make_server.reply(b"<html>", headers=["Content-Type: text/html; charset=utf-16"]),
        make_server.reply(odd),
    )
    program = """
import sys
from tokenkeeper._runtime import fork
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.generic import GenericOAuth2Provider

class Watch:
    late, unguarded = [], []

    def find_spec(self, name, path, target=None):
        self.late.append(name)
        if not fork._process.importing._is_owned():
            self.unguarded.append(name)

urls = *[sys.argv[1]] * 3, "https://b\u00fccher.invalid/token"
providers = [GenericOAuth2Provider(OAuth2Config("api", "me", "secret", url)) for url in urls]
sys.meta_path.insert(0, Watch())
providers.pop(0).acquire_token()
assert not Watch.late, Watch.late
for provider in providers:
    try:
        provider.acquire_token()
    except TokenAcquisitionError:
        pass
assert "tokenkeeper.oauth.token_errors" in Watch.late
print(Watch.unguarded)
"""
    run = [sys.executable, "-c", program, server.url]
    done = subprocess.run(run, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
    assert len(server.requests) == 3
