"""The number of connections to the loopback server is limited."""

import socket
import threading
from contextlib import ExitStack, suppress

import pytest
import requests
from kit.crowds import crowd
from kit.guards import GUARD_SECONDS, until

from tokenkeeper.testing import Answer, LoopbackAuthorizationServer
from tokenkeeper.testing.wire import Wire


@pytest.fixture
def server():
    """Return a running server with room for three connections."""
    with LoopbackAuthorizationServer(max_connections=3) as server:
        yield server


def threads_of_the_server():
    """Return how many threads serve connections."""
    return sum("process_request_thread" in thread.name for thread in threading.enumerate())


def connect(server):
    """Return a new connection."""
    port = int(server.issuer.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=GUARD_SECONDS)


def test_a_crowd_is_served_by_a_few_threads(server):
    """Many clients at once are all served, and never by more threads than the limit."""
    before, most = threads_of_the_server(), []

    def one():
        answer = requests.get(server.api_url, timeout=GUARD_SECONDS)
        most.append(threads_of_the_server() - before)
        return answer.status_code

    assert crowd(24, one).join() == [401] * 24
    assert max(most) <= 3


def test_kept_connections_make_room(server):
    """If all connections are idle, the one that was idle for longest is closed for a new one."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(requests.Session()) for _ in range(10)]
        for _ in range(2):  # the second time, most of them have to connect again
            for session in sessions:
                assert session.get(server.api_url, timeout=GUARD_SECONDS).status_code == 401
        assert threads_of_the_server() <= 3


def test_new_connections_wait_for_busy_ones(server):
    """While all connections are busy, a new one waits, and is served once one is free."""
    server.go_down("stall")
    busy = [threading.Thread(target=post_until_reset, args=[server]) for _ in range(3)]
    for thread in busy:
        thread.start()
    until(lambda: server.stats().token_requests == 3)
    with pytest.raises(requests.ReadTimeout):
        requests.get(server.api_url, timeout=0.1)
    server.come_back()
    assert requests.get(server.api_url, timeout=GUARD_SECONDS).status_code == 401
    for thread in busy:
        thread.join(GUARD_SECONDS)


def post_until_reset(server):
    """Send a token request that an outage stalls; the end of the stall is a reset."""
    with suppress(requests.ConnectionError):
        requests.post(server.token_url, timeout=GUARD_SECONDS)


def test_stopping_while_one_waits(server):
    """A server that is full stops at once, and the connections that wait are closed."""
    held = [connect(server) for _ in range(4)]
    for each in held:
        each.sendall(b"GET /api/x HTTP/1.1\r\n")  # the rest never comes
    until(lambda: threads_of_the_server() >= 3)
    server.stop()
    for each in held:
        with suppress(ConnectionResetError):
            assert each.recv(100) == b""
        each.close()


@pytest.mark.parametrize(
    "sent", [b"", b"GET /x HT", b"POST /x HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"]
)
def test_silence_ends_a_connection(sent):
    """A connection without data for too long is closed, wherever in a request it stopped."""
    wire = Wire(lambda _: Answer(), threading.Event(), idle_seconds=0.05)
    wire.start()
    try:
        with socket.create_connection(("127.0.0.1", wire.server_port), GUARD_SECONDS) as client:
            client.sendall(sent)
            assert client.recv(100) == b""
    finally:
        wire.stop(GUARD_SECONDS)


def test_there_must_be_room_for_one():
    """A limit below one is refused."""
    with pytest.raises(ValueError, match="at least 1"):
        LoopbackAuthorizationServer(max_connections=0)
