"""Connections through a SOCKS proxy: what the proxy is asked for, and what its failures become."""

import socket

import pytest
import socks
from kit.clocks import StoppedClock
from urllib3.contrib.socks import SOCKSConnection
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from tokenkeeper.oauth import socks as bounded_socks
from tokenkeeper.oauth.deadline import Budget, _bounded_connections

OPTIONS = {
    "socks_version": socks.PROXY_TYPE_SOCKS5,
    "proxy_host": "proxy.example",
    "proxy_port": "1080",
    "rdns": True,
    "username": "me",
    "password": "hunter2",
}
NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class Recorder:
    """A socket that records how it was made and used."""

    failure = None

    def __init__(self, *arguments):
        self.calls = [("made", *arguments)]

    def __getattr__(self, name):
        def call(*arguments):
            self.calls.append((name, *arguments))
            if name == "connect" and self.failure is not None:
                raise self.failure

        return call


@pytest.fixture(autouse=True)
def budget():
    with Budget(StoppedClock(), 5.0, 4.0):
        yield


def make(**options):
    """Return a connection to a host behind the proxy."""
    options = {"timeout": 3.0, "socket_options": [NO_DELAY]} | options
    cls = _bounded_connections(SOCKSConnection)
    return cls(_socks_options=OPTIONS, host="id.example.com", port=443, **options)


@pytest.mark.parametrize(("timeout", "limit"), [(3.0, 3.0), (None, 4.0), (4.5, 4.0)])
def test_how_a_socket_is_connected(timeout, limit):
    """The proxy gets its credentials and the host's name, within the shortest of the timeouts."""
    sock = Recorder()
    assert make(timeout=timeout)._connect(sock) is sock
    assert sock.calls[1:] == [
        ("setsockopt", *NO_DELAY),
        ("set_proxy", socks.PROXY_TYPE_SOCKS5, "proxy.example", "1080", True, "me", "hunter2"),
        ("settimeout", limit),
        ("connect", ("id.example.com", 443)),
    ]


def test_a_socket_without_options():
    """An adapter may set neither socket options nor a source address."""
    sock = Recorder()
    make(socket_options=None)._connect(sock)
    assert [name for name, *_ in sock.calls] == ["made", "set_proxy", "settimeout", "connect"]


@pytest.fixture
def resolve(monkeypatch):
    """Return a function that sets the addresses of the proxy and how connecting to them fails.

    It returns the look-ups and the sockets.
    """

    def set_up(found, *failures):
        asked, made, failing = [], [], iter(failures)

        def look_up(*arguments):
            asked.append(arguments)
            if isinstance(found, Exception):
                raise found
            return found

        def make_socket(*arguments):
            made.append(Recorder(*arguments))
            made[-1].failure = next(failing, None)
            return made[-1]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)
        monkeypatch.setattr(bounded_socks, "_BoundedSocket", make_socket)
        return asked, made

    return set_up


IPV4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 1080))
IPV6 = (socket.AF_INET6, socket.SOCK_STREAM, 7, "", ("2001:db8::1", 1080, 0, 0))
REFUSED = ConnectionRefusedError("refused")
OUT_OF_TIME = TimeoutError("too slow")


def test_one_address_after_another(resolve):
    """The proxy's name is resolved once, and its addresses are tried in their order."""
    asked, made = resolve([IPV6, IPV4], REFUSED)
    assert make()._new_conn() is made[1]
    assert asked[-1] == ("proxy.example", "1080", 0, socket.SOCK_STREAM)
    assert [sock.calls[0] for sock in made] == [
        ("made", socket.AF_INET6, socket.SOCK_STREAM, 7),
        ("made", socket.AF_INET, socket.SOCK_STREAM, 6),
    ]
    assert made[0].calls[-1] == ("close",)
    assert ("close",) not in made[1].calls


@pytest.mark.parametrize(
    ("found", "failures", "problem", "cause"),
    [
        (OSError("unknown"), [], "the proxy's name could not be resolved: unknown", OSError),
        (
            [],
            [],
            "could not connect through the proxy: the proxy's name has no address",
            OSError,
        ),
        (
            [IPV4],
            [REFUSED],
            "could not connect through the proxy: refused",
            ConnectionRefusedError,
        ),
        (
            [IPV6, IPV4],
            [OUT_OF_TIME, socks.GeneralProxyError("Socket error", REFUSED)],
            "could not connect through the proxy: refused",
            ConnectionRefusedError,
        ),
        (
            [IPV4],
            [socks.SOCKS5AuthError("who are you")],
            "could not connect through the proxy: who are you",
            socks.SOCKS5AuthError,
        ),
    ],
    ids=["unknown", "no address", "refused", "wrapped", "the proxy's own"],
)
def test_a_connection_that_fails(resolve, found, failures, problem, cause):
    """The last failure is the cause of an error that says what happened."""
    resolve(found, *failures)
    connection = make()
    with pytest.raises(NewConnectionError) as caught:
        bounded_socks.SocksConnection._new_conn(connection)
    assert caught.value.args == (f"{connection}: {problem}",)
    assert type(caught.value.__cause__) is cause


@pytest.mark.parametrize(
    "failure", [OUT_OF_TIME, socks.GeneralProxyError("Socket error", OUT_OF_TIME)]
)
def test_a_connection_that_takes_too_long(resolve, failure):
    """A proxy that does not respond in time is a timeout."""
    resolve([IPV4], failure)
    connection = make()
    with pytest.raises(ConnectTimeoutError) as caught:
        bounded_socks.SocksConnection._new_conn(connection)
    assert caught.value.args == (connection, "the connection through the proxy timed out")
    assert caught.value.__cause__ is OUT_OF_TIME
