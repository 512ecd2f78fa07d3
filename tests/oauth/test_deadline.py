"""The time that is left for a request, and the sockets that it may use."""

import io
import socket

import pytest
import requests
from kit.clocks import StoppedClock
from kit.servers.raw import Scripted, reply
from requests.adapters import BaseAdapter, HTTPAdapter
from urllib3.connection import HTTPConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from tokenkeeper.oauth.deadline import Budget, current_budget


def test_the_time_for_the_next_read():
    """A read gets the read timeout or what is left of the total timeout, and nothing after it."""
    clock = StoppedClock()
    budget = Budget(clock, 5, 2)
    assert budget.next_read() == 2
    clock.now = 4.0
    assert budget.next_read() == 1
    clock.now = 5.0
    assert budget.remaining() == 0
    with pytest.raises(TimeoutError, match=r"^the total time for the request is over$"):
        budget.next_read()


def test_a_budget_is_for_one_request():
    """A thread has a budget while it makes a request, and none after it."""
    budget, inner = Budget(StoppedClock(), 5, 2), Budget(StoppedClock(), 5, 2)
    with budget:
        assert current_budget() is budget
        with inner:
            assert current_budget() is inner
        assert current_budget() is budget
    assert current_budget() is None


def test_a_request_within_a_request(make_server, make_transport):
    """A caller's adapter may make a request of its own, such as for a gateway's token, first."""

    class Gateway(HTTPAdapter):
        def send(self, request, **options):
            request.headers["X-Gateway"] = make_transport().post(inner).body.decode()
            return super().send(request, **options)

    inner = make_server(reply(b"pass"))
    server = make_server(reply(b"yes"))
    session = requests.Session()
    session.mount("http://", Gateway())
    assert make_transport(session=session).post(server).body == b"yes"
    assert b"X-Gateway: pass" in server.requests[0]


@pytest.fixture
def unix_server(tmp_path):
    """Serve one request on a Unix domain socket; return its path."""
    path = str(tmp_path / "socket")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    with Scripted(reply(b"yes"), listener=listener):
        yield path


def test_a_unix_domain_socket(unix_server, make_transport):
    """A caller's adapter may send plain http to a loopback name over a Unix domain socket."""

    class Connection(HTTPConnection):
        def _new_conn(self):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(unix_server)
            return sock

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args, **options):
            super().init_poolmanager(*args, **options)
            self.poolmanager.pool_classes_by_scheme = {"http": Pool, "https": HTTPSConnectionPool}

    session = requests.Session()
    session.mount("http://", Adapter())
    assert make_transport(session=session).post(url="http://localhost/token").body == b"yes"


def test_a_stand_in_for_a_session(make_transport):
    """An object that is not a requests session, such as a test double, is called as it is."""

    class Double:
        def __init__(self):
            self.headers = {}
            self.urls = []

        def request(self, method, url, **options):
            self.urls.append((method, url))
            response = requests.Response()
            response.status_code, response._content = 200, b"yes"
            return response

    double = Double()
    assert make_transport(session=double).post(url="https://id.example.com/token").body == b"yes"
    assert double.urls == [("POST", "https://id.example.com/token")]


def test_an_adapter_without_urllib3(make_transport):
    """A caller's adapter that makes no connections, such as one for an app, is called as it is."""

    class InProcess(BaseAdapter):
        def send(self, request, **options):
            response = requests.Response()
            response.status_code, response.url = 200, request.url
            response.raw = io.BytesIO(b"yes")
            return response

        def close(self):
            pass

    session = requests.Session()
    session.mount("https://", InProcess())
    transport = make_transport(session=session)
    assert transport.post(url="https://id.example.com/token").body == b"yes"
