"""Sessions: what they pass on, what they keep, and how they read a body."""

import io
import os

import pytest
import requests
import urllib3
from kit.clocks import StoppedClock
from requests.adapters import BaseAdapter, HTTPAdapter

from tokenkeeper.oauth import sessions
from tokenkeeper.oauth.deadline import Budget
from tokenkeeper.oauth.network_errors import TooLongError

PROXY = "http://proxy.example:3128"


def response(raw=b"yes", **attributes):
    """Return a response that was not read yet."""
    made = requests.Response()
    made.status_code = 200
    made.raw = io.BytesIO(raw) if isinstance(raw, bytes) else raw
    vars(made).update(attributes)
    return made


class Double(BaseAdapter):
    """An adapter without connections, which records how it is called."""

    def __init__(self):
        self.calls = []

    def send(self, request, *args, **options):
        self.calls.append((args, options))
        return response(url=request.url)

    def close(self):
        pass


@pytest.fixture
def double():
    return Double()


@pytest.fixture
def session(double):
    """Return a session of a caller's that uses the double, and proxies."""
    session = requests.Session()
    session.mount("https://", double)
    session.mount("http://", double)
    session.proxies = {"http": PROXY, "https": PROXY}
    return session


class TestOurAdapter:
    """The adapter of the library's own sessions."""

    def test_the_pool_of_direct_connections(self):
        """The options of its pool reach requests."""
        pools = sessions.DeadlineAdapter(pool_block=True).poolmanager
        assert pools.connection_pool_kw["block"] is True

    def test_the_pool_of_a_proxy(self):
        """The options of a proxy's pool reach requests."""
        pools = sessions.DeadlineAdapter().proxy_manager_for(PROXY, cert_reqs="CERT_REQUIRED")
        assert pools.connection_pool_kw["cert_reqs"] == "CERT_REQUIRED"

    def test_the_arguments_of_a_request(self, monkeypatch):
        """Arguments by position and by name reach requests."""
        calls = []
        monkeypatch.setattr(
            HTTPAdapter, "send", lambda _, *args, **more: calls.append((args, more))
        )
        request = requests.Request("GET", "https://id.example.com/").prepare()
        sessions.DeadlineAdapter().send(request, True, timeout=7)
        assert calls == [((request, True), {"timeout": 7})]


class TestCallersAdapters:
    """Adapters of a caller's session."""

    def test_the_pool_of_a_proxy(self):
        """The options of a proxy's pool reach the caller's adapter."""
        pools = sessions._bounded(HTTPAdapter()).proxy_manager_for(PROXY, cert_reqs="CERT_NONE")
        assert pools.connection_pool_kw["cert_reqs"] == "CERT_NONE"

    def test_no_retries(self):
        """Its retries are turned off in the copy that is used, and it keeps them itself."""
        theirs = HTTPAdapter(max_retries=3)
        retries = sessions._bounded(theirs).max_retries
        assert (retries.total, retries.read) == (0, False)
        assert theirs.max_retries.total == 3

    @pytest.mark.parametrize("base", [HTTPAdapter, BaseAdapter])
    def test_one_without_urllib3(self, base):
        """An adapter that is not of requests, or has no pools of urllib3, is used as it is."""
        theirs = base()
        theirs.poolmanager = None if base is HTTPAdapter else urllib3.PoolManager()
        assert sessions._bounded(theirs) is theirs

    @pytest.mark.parametrize(
        ("url", "proxies"),
        [
            ("https://id.example.com/token", {"http": PROXY, "https": PROXY}),
            ("http://127.0.0.1/token", {}),
            ("HTTP://127.0.0.1/token", {}),
        ],
    )
    def test_what_it_is_asked_for(self, make_transport, session, double, url, proxies):
        """It sends a stream, and without proxies if the request is not encrypted."""
        assert make_transport(session=session).post(url=url).body == b"yes"
        ((args, options),) = double.calls
        assert args == ()
        assert options["stream"] is True
        assert {name: options["proxies"].get(name) for name in proxies} == proxies
        assert bool(options["proxies"]) is bool(proxies)
        assert options["proxies"] is not None

    def test_its_other_arguments(self, double):
        """Arguments by position reach it."""
        borrowed = sessions._BorrowedAdapter(double)
        with Budget(StoppedClock(), 5, 5):
            borrowed.send(requests.Request("GET", "https://id.example.com/").prepare(), 7)
        assert [args for args, _ in double.calls] == [(7,)]

    def test_a_hook_that_reads_in_pieces(self, make_transport, session):
        """A hook of the caller's session can read the response in pieces, without taking it."""
        seen = []
        session.hooks["response"] = lambda each, **_: seen.extend(each.iter_content(2))
        transport = make_transport(session=session)
        assert transport.post(url="https://id.example.com/token").body == b"yes"
        assert seen == [b"ye", b"s"]


class TestOurSessions:
    """The library's own sessions."""

    @pytest.fixture(autouse=True)
    def idle(self, monkeypatch):
        """Return the idle sessions: none at first."""
        monkeypatch.setattr(sessions, "_ours", sessions._OurSessions())
        return sessions._ours.idle

    def test_parameters_of_the_query(self, transport, make_server):
        """Parameters are sent in the query."""
        server = make_server()
        transport.request("POST", server.url, provider_name="api", params={"a": "b c"}, data=b"")
        assert server.requests[0].startswith(b"POST /token?a=b+c HTTP/1.1\r\n")

    def test_no_cookie_is_stored(self, transport, make_server, idle):
        """A session does not store the cookies that it receives."""
        transport.post(make_server(make_server.reply(b"", headers=["Set-Cookie: a=b; Path=/"])))
        (session,) = idle
        assert list(session.cookies) == []

    def test_how_many_are_kept(self, idle):
        """At most 32 idle sessions are kept, and none of a caller's."""
        for _ in range(sessions.MOST_IDLE_SESSIONS + 2):
            sessions.give_back(sessions._Session())
        sessions.give_back(requests.Session())
        assert len(idle) == sessions.MOST_IDLE_SESSIONS == 32
        assert {type(each) for each in idle} == {sessions._Session}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
    def test_a_forked_child(self, idle, exit_code_of):
        """A child of os.fork() has none of its parent's sessions."""
        sessions.give_back(sessions._Session())
        assert exit_code_of(lambda: len(sessions._ours.idle)) == 0
        assert len(idle) == 1


class TestBodies:
    """How a body is read."""

    @pytest.fixture
    def clock(self):
        return StoppedClock()

    @pytest.fixture
    def read(self, clock):
        return lambda each: sessions.read(each, Budget(clock, 5, 5))

    @pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip"])
    def test_an_encoding_that_was_not_requested(self, read, encoding):
        """Only encodings that can be decoded in small pieces are read, even from a stand-in."""
        with pytest.raises(urllib3.exceptions.DecodeError) as caught:
            read(response(headers={"Content-Encoding": encoding}))
        assert str(caught.value) == "an encoding that was not requested"

    def test_such_an_encoding_on_the_wire(self, transport, make_server):
        """A response with such an encoding is a final error."""
        headers = ["content-encoding: br"]
        error = transport.failure(make_server(make_server.reply(b"abc", headers=headers)))
        assert "the response could not be decompressed" in str(error)
        assert error.transient is False

    @pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
    def test_no_encoding(self, read, encoding):
        """A body without an encoding is read, whatever the case of ``identity``."""
        assert read(response(headers={"Content-Encoding": encoding})) == b"yes"

    def test_one_that_is_too_long(self, read):
        """A long body is abandoned after the piece that is too much."""
        raw = io.BytesIO(bytes(2 * sessions.LONGEST_BODY))
        raw.close = lambda: None
        with pytest.raises(TooLongError):
            read(response(raw))
        assert sessions.LONGEST_BODY < raw.tell() <= sessions.LONGEST_BODY + 64 * 1024

    def test_one_that_can_not_be_closed(self, read):
        """An error while such a response is closed changes nothing."""

        class Raw(io.BytesIO):
            def close(self):
                raise OSError("the connection is gone")

        raw = Raw(bytes(sessions.LONGEST_BODY + 1))
        with pytest.raises(TooLongError):
            read(response(raw))
        raw.close = lambda: None

    def test_one_that_is_too_slow(self, read, clock):
        """A body is abandoned between two pieces, although each of them came in time."""
        reads = []

        class Raw(io.BytesIO):
            def read(self, size=-1):
                reads.append(size)
                clock.now += 2
                return super().read(1)

            read1 = read

        with pytest.raises(TimeoutError, match="total time"):
            read(response(urllib3.HTTPResponse(Raw(b"12345"), preload_content=False)))
        assert len(reads) == 3
