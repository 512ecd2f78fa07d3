"""A server on loopback that says, byte by byte, what it is told to."""

import socket
import threading

import pytest

from tokenkeeper._support.network import NETWORK_REASONS
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.transport import HttpTransport


class Scripted:
    """Answers each connection with the next script: a function of the connected socket."""

    def __init__(self, wrap=None):
        self._wrap = wrap or (lambda sock: sock)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/token"
        self.scripts = []
        self.requests = []
        self.connections = 0
        self.hung_up = threading.Semaphore(0)  # released for each connection that was closed
        self.stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        while True:
            sock, _ = self._listener.accept()
            if self.stopping.is_set():
                sock.close()
                return
            self.connections += 1
            script = self.scripts.pop(0) if self.scripts else reply(b"{}")
            try:
                with self._wrap(sock) as talk:
                    talk.settimeout(10)
                    script(self, talk)
            except OSError:
                pass
            self.hung_up.release()

    def read_request(self, sock):
        """Read one request with its body and note it down; b"" if the client went away."""
        got = b""
        while b"\r\n\r\n" not in got:
            piece = sock.recv(65536)
            if not piece:
                return b""
            got += piece
        head, _, body = got.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        ]
        while lengths and len(body) < lengths[0]:
            body += sock.recv(65536)
        self.requests.append(head + b"\r\n\r\n" + body)
        return self.requests[-1]

    def close(self):
        self.stopping.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(20)
        self._listener.close()


def reply(body, *, status="200 OK", headers=(), times=1):
    """Answer *times* requests on one connection."""

    def script(server, sock):
        for _ in range(times):
            if not server.read_request(sock):
                return
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            sock.sendall("\r\n".join(lines).encode() + body)

    return script


def drip(content, *, pause=0.02):
    """Send *content* a byte at a time, and go on until the client goes away."""

    def script(server, sock):
        server.read_request(sock)
        for byte in content:
            if server.stopping.wait(pause):
                return
            sock.sendall(bytes([byte]))

    return script


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Let no proxy and no CA of the machine play a part."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def make_server():
    """Return a maker of scripted servers."""
    servers = []

    def make(*scripts, wrap=None):
        server = Scripted(wrap)
        server.scripts.extend(scripts)
        servers.append(server)
        return server

    make.reply, make.drip = reply, drip
    yield make
    for server in servers:
        server.close()


class Transport(HttpTransport):
    """A transport with what the tests do with it."""

    def post(self, server=None, **request):
        """Post a form to *server*, or to a URL."""
        url = request.pop("url", None) or server.url
        return self.request("POST", url, provider_name="api", data={"a": "b c"}, **request)

    def failure(self, server=None, **request):
        """Do the same, which must fail, and return the error."""
        with pytest.raises(TokenAcquisitionError) as caught:
            self.post(server, **request)
        error = caught.value
        assert str(error).startswith("provider 'api': request to ")
        assert "\n" not in str(error)
        assert error.__context__ is None  # its frames would hold the secret
        assert (
            error.network_reason in NETWORK_REASONS
            or "InvalidURL" in str(error)
            or ("LocationParseError" in str(error))
        )
        return error


@pytest.fixture
def make_transport():
    """Return a maker of transports."""
    return Transport


@pytest.fixture
def transport(make_transport):
    """Return a transport as it is without options."""
    return make_transport()
