"""An API on loopback that accepts some tokens and refuses others, and a keeper with its tokens."""

import itertools
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import anyio.to_thread
import pytest

from tokenkeeper import BaseOAuth2Provider, OAuth2Token, TokenKeeper

GUARD_SECONDS = 30


class Api(ThreadingHTTPServer):
    """Answers requests that carry a valid token with what it received.

    ``/to/URL`` redirects every request, ``/then/URL`` those with a valid token.

    :ivar valid: the tokens that it accepts; it accepts those in *once* one time.
    :ivar seen: path, token and body of each request.
    :ivar refusal: the body of a 401, and *challenge* its ``WWW-Authenticate``.
    :ivar cookies: whether each response sets a cookie, named by its number and with its status.
    :ivar revoke_at: the number of the request at which all tokens are revoked.
    :ivar faults: for each of the next responses: "drop" it, "cut" it in the middle, refuse "early",
        before the body is read; or ``None``.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.valid = set()
        self.once = set()
        self.cookies = False
        self.seen = []
        self.refusal = b"no"
        self.challenge = 'Bearer error="invalid_token"'
        self.revoke_at = None
        self.faults = []
        self._numbers = itertools.count(1)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def place(self):
        """The API as an item of ``allowed_hosts``."""
        return f"127.0.0.1:{self.server_port}"

    @property
    def tokens(self):
        return [token for _, token, _ in self.seen]

    def note(self, path, token, body):
        """Record a request."""
        self.seen.append((path, token, body))
        if next(self._numbers) == self.revoke_at:
            self.valid.clear()

    def handle_error(self, request, client_address):
        """Ignore clients that close their connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def do_GET(self):
        fault = self.server.faults.pop(0) if self.server.faults else None
        self.cut = fault == "cut"
        if fault == "early":
            self._say(401, self.server.refusal, Connection="close")
        body = self._body()
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        self.server.note(self.path, token or None, body)
        if fault == "early":
            return None
        if fault == "drop":
            self.close_connection = True
            return None
        if self.path.startswith("/to/"):
            return self._say(307, b"", Location=self.path.removeprefix("/to/"))
        taken = token in self.server.valid or token in self.server.once
        self.server.once.discard(token)
        if scheme != "Bearer" or not taken:
            challenge = {"WWW-Authenticate": self.server.challenge}
            return self._say(401, self.server.refusal, **challenge)
        if self.path.startswith("/then/"):
            status = 303 if self.command == "POST" else 307
            return self._say(status, b"", Location=self.path.removeprefix("/then/"))
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
        if self.server.cookies:
            self.send_header("Set-Cookie", f"c{len(self.server.seen) - 1}={status}")
        self.send_header("Content-Length", str(len(body) + self.cut))
        self.end_headers()
        self.close_connection = self.close_connection or self.cut
        self.wfile.write(body)


class Minting(BaseOAuth2Provider):
    """Grants tokens that the API accepts.

    :ivar good: whether the API accepts the tokens.
    :ivar asking: set when a token is requested.
    :ivar open: while it is cleared, requests block.
    :ivar failure: the error to raise instead of granting a token.
    :ivar takes: how many seconds a request takes.
    """

    def __init__(self, api):
        super().__init__("api")
        self.api = api
        self.numbers = itertools.count(1)
        self.asked = self.minted = 0
        self.good = True
        self.failure = None
        self.takes = 0.02
        self.asking = threading.Event()
        self.open = threading.Event()
        self.open.set()

    def shut(self):
        """Block requests from now on, and clear ``asking``."""
        self.open.clear()
        self.asking.clear()

    def acquire_token(self):
        self.asked += 1
        self.asking.set()
        assert self.open.wait(GUARD_SECONDS)
        if self.failure is not None:
            raise self.failure
        time.sleep(self.takes)
        self.minted += 1
        token = f"token-{next(self.numbers)}"
        if self.good:
            self.api.valid.add(token)
        return OAuth2Token(token, "Bearer", datetime.now(UTC) + timedelta(hours=1))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Remove the machine's proxy settings."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def make_api():
    """Return a function that starts APIs, which stop at the end of the test."""
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
    """Return the API that accepts the tokens."""
    return make_api()


@pytest.fixture
def elsewhere(make_api):
    """Return another API, which must not get the tokens."""
    return make_api()


@pytest.fixture
def provider(api):
    """Return the provider of the tokens."""
    return Minting(api)


@pytest.fixture
def keeper(provider):
    """Return a keeper with the provider "api"."""
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        yield keeper


@pytest.fixture
def crowd():
    """Return a function that runs a job in many threads and returns results and exceptions."""

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
def crowd_of_tasks():
    """Return a function that runs a job in many tasks and returns their results."""

    async def crowd_of_tasks(count, job):
        answers = []

        async def run():
            answers.append(await job())

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(run)
        return answers

    return crowd_of_tasks


@pytest.fixture
def cancel_in_a_renewal(provider):
    """Return a function that runs a job, and cancels it once it asks for a token."""

    async def cancel_in_a_renewal(job, *arguments):
        provider.shut()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(job, *arguments)
            assert await anyio.to_thread.run_sync(provider.asking.wait, GUARD_SECONDS)
            tasks.cancel_scope.cancel()
        provider.open.set()

    return cancel_in_a_renewal


@pytest.fixture
def fork_while(exit_code_of):
    """Return a function that forks in the middle of another function.

    The other function gets an event to set and one to wait for. The result is whether the fork
    waited until that function had finished.
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
