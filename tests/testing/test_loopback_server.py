"""The loopback authorization server over real sockets, with its faults."""

import os
import socket
import threading
from contextlib import closing
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection

import pytest
import requests

from tokenkeeper import (
    GenericOAuth2Provider,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.testing import Answer, LoopbackAuthorizationServer, SteppedClock

GRANT = {"grant_type": "client_credentials"}


def port_of(server):
    """Return the port that the server listens on."""
    return int(server.issuer.rpartition(":")[2])


def ask(server, session, **options):
    """Request a token, with a timeout."""
    auth = (server.client_id, server.client_secret.replace(" ", "%20"))
    return session.post(server.token_url, data=GRANT, auth=auth, timeout=10, **options)


def call(server, session, token):
    """Call the API."""
    bearer = {"Authorization": f"Bearer {token}"}
    return session.get(server.api_url, headers=bearer, timeout=10)


def test_a_keeper_on_a_server(server, session):
    """The generic provider gets tokens of this server that its API accepts."""
    with TokenKeeper() as keeper:
        keeper.add_provider(GenericOAuth2Provider(server.config("api", scope="read")))
        token = keeper.get_token("api")
        assert call(server, session, token).json() == {"path": "/api/things"}
        assert server.revoke(token)
        assert call(server, session, token).status_code == 401
        assert call(server, session, keeper.renew_refused("api", token)).status_code == 200
    stats = server.stats()
    assert stats.token_requests == stats.tokens_granted == 2
    assert (stats.api_accepted, stats.api_dead) == (2, 1)
    assert stats.max_concurrent_token_requests == 1


def test_refresh_tokens_serve_the_generic_provider(session):
    """A provider with refresh_tokens=True uses them, and replaces a revoked one by a new grant."""
    with (
        LoopbackAuthorizationServer(refresh_tokens=True) as server,
        TokenKeeper() as keeper,
    ):
        keeper.add_provider(GenericOAuth2Provider(server.config(), refresh_tokens=True))
        keeper.get_token("demo")
        keeper.get_token("demo", force_refresh=True)
        assert server.stats().token_requests_by_grant["refresh_token"] == 1
        server.revoke_all()
        token = keeper.get_token("demo", force_refresh=True)
        assert call(server, session, token).status_code == 200


def test_a_port_of_choice(server, session):
    """A port that another server uses is refused, and available once that server has stopped."""
    ask(server, session)  # a connection that the server closes leaves its port in TIME_WAIT
    second = LoopbackAuthorizationServer(port=port_of(server))
    with pytest.raises(OSError, match="in use"):
        second.start()
    server.stop()
    with second:
        assert port_of(second) == port_of(server)
        assert ask(second, session).status_code == 200


def test_answers_are_dated(session):
    """Each answer has the server's date, unless a script sets another."""
    clock = SteppedClock()
    with LoopbackAuthorizationServer(clock=clock) as server:
        for answer in (ask(server, session), call(server, session, "none")):
            dated = parsedate_to_datetime(answer.headers["Date"]).timestamp()
            assert 0 <= clock.time() - dated < 1
        server.script(Answer(503, headers={"Date": "yesterday"}))
        assert ask(server, session).headers["Date"] == "yesterday"


def test_connections_are_kept(server):
    """A connection serves several requests."""
    with closing(HTTPConnection("127.0.0.1", port_of(server), timeout=10)) as client:
        client.connect()
        connection = client.sock
        for path in ("/token", "/api/x", "/nowhere"):
            client.request("GET", path)
            client.getresponse().read()
        assert client.sock is connection


def test_lifetime_is_settable():
    """A lifetime set at run time applies to the next token, on the server's own clock."""
    clock = SteppedClock()
    with (
        LoopbackAuthorizationServer(clock=clock) as server,
        requests.Session() as session,
    ):
        server.lifetime_seconds = 2.5
        assert server.lifetime_seconds == 2.5
        granted = ask(server, session).json()
        assert granted["expires_in"] == 2.5
        clock.step(2.5)
        assert "expired" in call(server, session, granted["access_token"]).text
        assert server.stats().token_requests_at == (1000.0,)


def test_latency_and_concurrency(server):
    """Concurrent token requests are counted as such."""
    server.latency_seconds = 0.2
    assert server.latency_seconds == 0.2
    barrier = threading.Barrier(3)

    def one():
        with requests.Session() as session:
            barrier.wait(10)
            ask(server, session)

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert server.stats().max_concurrent_token_requests == 3


def test_an_outage_says_so(server, session):
    """A server that is down answers 503 with Retry-After; its API works, and it comes back."""
    token = ask(server, session).json()["access_token"]
    with server.outage(retry_after=7):
        assert server.down == "503"
        answer = ask(server, session)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "7")
        assert call(server, session, token).status_code == 200
    assert server.down is None
    assert ask(server, session).status_code == 200
    server.go_down()
    assert "Retry-After" not in ask(server, session).headers


def test_an_outage_resets_connections(server, session):
    """In the mode "reset" the connection is reset without an answer."""
    server.go_down("reset")
    with pytest.raises(requests.ConnectionError):
        ask(server, session)
    assert server.stats().token_requests == 1


def test_a_reset_is_a_reset(server):
    """The connection is reset, not closed normally."""
    server.go_down("reset")
    with socket.create_connection(("127.0.0.1", port_of(server))) as raw:
        raw.sendall(b"POST /token HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            raw.recv(100)


def test_an_outage_stalls(server, session):
    """In the mode "stall" a request hangs until the outage ends."""
    server.go_down("stall")
    with pytest.raises(requests.ReadTimeout):
        session.post(server.token_url, data=GRANT, timeout=0.05)
    server.come_back()
    assert ask(server, session).status_code == 200


def test_a_stall_ends_with_the_server(session):
    """Stopping the server ends stalled requests, and does not hang."""
    failed = threading.Event()

    def one(server):
        with pytest.raises(requests.ConnectionError):
            ask(server, session)
        failed.set()

    with LoopbackAuthorizationServer() as server:
        server.go_down("stall")
        threading.Thread(target=one, args=[server]).start()
        pause = threading.Event()
        while not server.stats().token_requests:
            pause.wait(0.002)
    assert failed.wait(10)


def test_unknown_outages_are_refused(server):
    """An unknown kind of outage is an error that lists the kinds."""
    with pytest.raises(ValueError, match="503, reset, stall"):
        server.go_down("flood")


def test_a_script_of_answers(server, session):
    """Scripted answers are sent in order and unchanged, and then the server works as usual."""
    server.script(
        Answer(299, b"\xff\x00", {"X-Odd": "yes"}),
        Answer(302, "elsewhere", {"Location": "http://127.0.0.1:9/"}),
        Answer(200, [1, 2]),
    )
    first = ask(server, session)
    assert (first.status_code, first.content, first.headers["X-Odd"]) == (299, b"\xff\x00", "yes")
    assert ask(server, session, allow_redirects=False).headers["Location"]
    third = ask(server, session)
    assert third.headers["Content-Type"] == "application/json"
    assert third.json() == [1, 2]
    assert "access_token" in ask(server, session).json()


def test_a_drip(server, session):
    """A body can be sent one byte at a time, completely."""
    server.script(Answer(200, "slowly", drip_seconds=0.001))
    assert ask(server, session).text == "slowly"


def test_a_drip_ends_with_the_server(session):
    """Stopping the server ends an answer that is sent byte by byte."""
    with LoopbackAuthorizationServer() as server:
        server.script(Answer(200, "never all of it", drip_seconds=60))
        answer = ask(server, session, stream=True)
        assert answer.raw.read(1) == b"n"
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        _ = answer.content


def test_faults_reach_a_keeper(server):
    """To a provider an outage is a transient failure."""
    once = RetryPolicy(attempts=1)
    with TokenKeeper(retry=once) as keeper, server.outage("503", retry_after=3):
        keeper.add_provider(GenericOAuth2Provider(server.config()))
        with pytest.raises(TokenAcquisitionError) as refused:
            keeper.get_token("demo")
    assert (refused.value.status_code, refused.value.retry_after) == (503, 3)


@pytest.mark.parametrize(
    "head",
    ["Content-Length: x", "Content-Length: 99999999", "Transfer-Encoding: chunked"],
)
def test_bodies_it_can_not_read(server, head):
    """A request without a plain length is refused, and its connection closed."""
    with socket.create_connection(("127.0.0.1", port_of(server))) as raw:
        raw.sendall(f"POST /token HTTP/1.1\r\n{head}\r\n\r\n".encode())
        with raw.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400")


def test_clients_that_go_away_are_no_news(server, capfd):
    """A client that resets its connection leaves no trace on standard error."""
    for _ in range(3):
        raw = socket.create_connection(("127.0.0.1", port_of(server)))
        raw.sendall(b"GET / HTTP/1.1\r\n")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        raw.close()
    server.stop()
    assert capfd.readouterr().err == ""


def test_a_bug_is_news(server, session, monkeypatch, capfd):
    """An error in the server itself shows on standard error."""
    monkeypatch.setattr(server._endpoints, "answer", lambda *_: 1 / 0)
    with pytest.raises(requests.ConnectionError):
        ask(server, session)
    server.stop()
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_start_and_stop():
    """A server has an address once it is started, starts once, and can be stopped repeatedly."""
    server = LoopbackAuthorizationServer()
    with pytest.raises(RuntimeError, match="started"):
        _ = server.token_url
    server.stop()
    server = LoopbackAuthorizationServer()
    server.start()
    assert server.introspection_url.endswith("/introspect")
    assert server.revocation_url.endswith("/revoke")
    with pytest.raises(RuntimeError, match="new one"):
        server.start()
    server.stop()
    server.stop()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port_of(server)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_stop_in_a_forked_child_disturbs_nobody(server):
    """A child that inherits a server can stop its copy; the parent's connections continue."""
    with closing(HTTPConnection("127.0.0.1", port_of(server), timeout=10)) as client:
        client.connect()
        connection = client.sock
        client.request("GET", "/nowhere")
        client.getresponse().read()
        child = os.fork()
        if child == 0:
            server.stop()
            os._exit(0)
        assert os.waitpid(child, 0) == (child, 0)
        client.request("GET", "/nowhere")
        assert client.getresponse().read()
        assert client.sock is connection
