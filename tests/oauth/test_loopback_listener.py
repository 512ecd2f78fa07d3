"""The listener on this machine: what counts as the answer to a sign-in, and what it shows."""

import contextlib
import http.client
import socket
import threading
from urllib.parse import urlsplit

import pytest
from kit.guards import GUARD_SECONDS

from tokenkeeper import InvalidConfigurationError
from tokenkeeper.oauth.loopback_listener import LoopbackListener, is_listening

STATE = "the-state"


@pytest.fixture
def listener():
    with contextlib.closing(LoopbackListener()) as listener:
        listener.expect(STATE)
        yield listener


def ask(listener, target, method="GET"):
    """Return status, headers and page for one request."""
    parts = urlsplit(listener.redirect_uri)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    with contextlib.closing(connection):
        connection.request(method, target)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read().decode()


def test_one_answer_counts(listener):
    """The first hit with the right state is the answer; a second one sees another page."""
    target = f"/callback?code=c0de-1&state={STATE}"
    status, _, page = ask(listener, target)
    assert (status, listener.answer()) == (200, listener.redirect_uri + target[len("/callback") :])
    assert "You have signed in" in page
    assert listener.changed.is_set()
    status, _, page = ask(listener, f"/callback?code=c0de-2&state={STATE}")
    assert status == 200
    assert "done" in page
    assert "c0de-1" in listener.answer()


def test_recognized_by_other_processes(listener):
    """A process recognizes the listener of another one, until that is closed; it spends nothing."""
    port = urlsplit(listener.redirect_uri).port
    assert is_listening(port)
    assert listener.answer() is None
    listener.close()
    assert not is_listening(port)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.0 200 OK\r\nServer: nginx\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"SSH-2.0\r\n", b""],
    ids=["another", "anonymous", "not HTTP", "nothing"],
)
def test_other_listeners(answer):
    """Another program that listens on a port is not taken for a sign-in."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        assert not is_listening(server.getsockname()[1])
        thread.join(GUARD_SECONDS)


def test_a_denial_counts(listener):
    """It is the answer too, and the page does not say that the person has signed in."""
    status, _, page = ask(listener, f"/callback?error=access_denied&state={STATE}")
    assert status == 200
    assert "not completed" in page
    assert "access_denied" in listener.answer()


@pytest.mark.parametrize(
    ("method", "target", "expected"),
    [
        ("GET", "/favicon.ico", 404),
        ("GET", "/", 404),
        ("GET", f"/callback/?code=c&state={STATE}", 404),
        ("GET", "/callback", 404),
        ("GET", "/callback?code=c&state=guessed", 404),
        ("GET", f"/callback?code=c&code=d&state={STATE}", 404),
        ("HEAD", f"/callback?code=c&state={STATE}", 200),
        ("HEAD", "/favicon.ico", 404),
        ("POST", f"/callback?code=c&state={STATE}", 501),
    ],
    ids=["icon", "root", "path", "bare", "guessed", "twice", "HEAD", "HEAD of an icon", "POST"],
)
def test_what_spends_nothing(listener, method, target, expected):
    """Anything else is answered, and the right answer still counts."""
    assert ask(listener, target, method)[0] == expected
    assert listener.answer() is None
    ask(listener, f"/callback?code=right&state={STATE}")
    assert "right" in listener.answer()


def test_nothing_counts_before_the_state_is_known():
    """An empty state matches nothing."""
    with contextlib.closing(LoopbackListener()) as listener:
        assert ask(listener, "/callback?code=c&state=")[0] == 404


def test_the_page_keeps_secrets(listener):
    """It shows nothing of the URL, is not stored, sends no referrer, and runs nothing."""
    _, headers, page = ask(listener, f"/callback?code=c0de-1&state={STATE}")
    assert "c0de" not in page
    assert STATE not in page
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "Python" not in headers["Server"]
    assert '<html lang="en">' in page
    assert "<title>You have signed in</title>" in page


def test_a_browser_that_hangs_up(listener, capfd):
    """It prints nothing, and the answer still counts."""
    parts = urlsplit(listener.redirect_uri)
    for request in (b"", b"GET /callback HTTP/1.1\r\n", b"nonsense\r\n\r\n"):
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(request)
    assert ask(listener, f"/callback?code=right&state={STATE}")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_it_listens_on_this_machine_alone(listener):
    """Its address is the loopback one, in digits."""
    assert listener.redirect_uri.startswith("http://127.0.0.1:")


def test_a_port_that_is_taken(listener):
    """The error names the option, and what to do."""
    port = urlsplit(listener.redirect_uri).port
    with pytest.raises(InvalidConfigurationError, match="redirect_port") as info:
        LoopbackListener(port)
    assert info.value.field == "redirect_port"


def test_closing_it_in_a_forked_child():
    """There the thread is gone, and nothing waits for it."""
    listener = LoopbackListener()
    listener._server.shutdown()
    listener._thread.join(30)
    listener.close()


def test_closing_it():
    """It ends its thread, wakes what waits for it, and can be repeated."""
    listener = LoopbackListener()
    listener.close()
    listener.close()
    assert listener.changed.is_set()
    listener._thread.join(30)
    assert listener._thread not in threading.enumerate()
    with pytest.raises(OSError, match="refused"):
        ask(listener, "/callback")
