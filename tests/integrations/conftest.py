"""An API on loopback that takes some tokens and refuses others, and a keeper with tokens for it."""

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper

GUARD_SECONDS = 30


class Api(ThreadingHTTPServer):
    """Says what it got to whoever shows a valid token.

    :ivar valid: the tokens that it takes.
    :ivar seen: path, token and body of each request.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.valid = set()
        self.seen = []
        self.refusal = b"no"
        self.drops = 0  # how many connections to drop before an answer

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def tokens(self):
        return [token for _, token, _ in self.seen]

    def handle_error(self, request, client_address):
        """A client that went away is no error of the server."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        body = self._body()
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        self.server.seen.append((self.path, token or None, body))
        if self.server.drops:
            self.server.drops -= 1
            self.close_connection = True
            return None
        if self.path.startswith("/to/"):
            return self._say(307, b"", Location=self.path.removeprefix("/to/"))
        if scheme != "Bearer" or token not in self.server.valid:
            return self._say(
                401, self.server.refusal, **{"WWW-Authenticate": 'Bearer error="invalid_token"'}
            )
        said = {"path": self.path, "token": token, "body": body.decode()}
        return self._say(202 if self.command == "DELETE" else 200, json.dumps(said).encode())

    def do_POST(self):
        self.do_GET()

    def do_DELETE(self):
        self.do_GET()

    def do_PUT(self):
        self.do_GET()

    def _body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline(), 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _say(self, status, body, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Minting(BaseOAuth2Provider):
    """Mints tokens that the API takes."""

    def __init__(self, api):
        super().__init__("api")
        self.api = api
        self.numbers = itertools.count(1)
        self.minted = 0
        self.good = True  # whether the API takes what is minted
        self.open = threading.Event()  # cleared, it lets nothing out
        self.open.set()

    def acquire_token(self):
        assert self.open.wait(GUARD_SECONDS)
        time.sleep(0.02)
        self.minted += 1
        token = f"token-{next(self.numbers)}"
        if self.good:
            self.api.valid.add(token)
        return OAuth2Token(token, "Bearer", datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Let no proxy of the machine stand between us and loopback."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def make_api():
    """Start APIs that end with the test."""
    started = []

    def make():
        api = Api()
        thread = threading.Thread(target=api.serve_forever, args=(0.01,))
        thread.start()
        started.append((api, thread))
        return api

    yield make
    for api, thread in started:
        api.shutdown()
        thread.join(GUARD_SECONDS)
        api.server_close()


@pytest.fixture
def api(make_api):
    """Return the API that the tokens are for."""
    return make_api()


@pytest.fixture
def elsewhere(make_api):
    """Return an API of somebody else."""
    return make_api()


@pytest.fixture
def provider(api):
    """Return what mints the tokens."""
    return Minting(api)


@pytest.fixture
def keeper(provider):
    """Return a keeper with the provider "api"."""
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        yield keeper


@pytest.fixture
def crowd():
    """Return what runs a job in many threads at once and returns what each returned or raised."""

    def crowd(count, job):
        start = threading.Barrier(count)

        def run():
            start.wait(GUARD_SECONDS)
            return job()

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(run) for _ in range(count)]
            return [future.exception() or future.result() for future in futures]

    return crowd


@pytest.fixture
def fork_while(exit_code_of):
    """Return what forks while a function is in the middle of something, and says when that was.

    The function is called with an event to set, and one to wait for, in the middle; it returns
    whether the fork had to wait until it was done.
    """

    def fork_while(function):
        entered, go_on, forked = threading.Event(), threading.Event(), threading.Event()
        inside = threading.Thread(target=function, args=(entered, go_on))
        forker = threading.Thread(target=lambda: (exit_code_of(lambda: 0), forked.set()))
        inside.start()
        assert entered.wait(20)
        forker.start()
        waited = not forked.wait(0.05)
        go_on.set()
        assert forked.wait(20)
        forker.join()
        inside.join()
        return waited

    return fork_while
