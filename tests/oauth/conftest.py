"""A loopback server that sends scripted bytes, and a transport to test against it."""

import socket
import threading

import pytest

from tokenkeeper._support.network import NETWORK_REASONS
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.transport import HttpTransport


class Scripted:
    """Runs the next script, a function of the connected socket, for each connection."""

    def __init__(self, wrap=None):
        self._wrap = wrap or (lambda sock: sock)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/token"
        self.scripts = []
        self.requests = []
        self.connections = 0
        self.hung_up = threading.Semaphore(0)  # released once for each closed connection
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
        """Read and record one request with its body; b"" if the client disconnected."""
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
    """Respond to *times* requests on one connection."""

    def script(server, sock):
        for _ in range(times):
            if not server.read_request(sock):
                return
            lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
            sock.sendall("\r\n".join(lines).encode() + body)

    return script


def drip(content, *, pause=0.02):
    """Send *content* one byte at a time, until the client disconnects."""

    def script(server, sock):
        server.read_request(sock)
        for byte in content:
            if server.stopping.wait(pause):
                return
            sock.sendall(bytes([byte]))

    return script


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Remove the machine's proxies and CAs from the environment."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def make_server():
    """Return a factory for scripted servers."""
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
    """A transport with shortcuts for tests."""

    def post(self, server=None, **request):
        """Post a form to *server*, or to *url*."""
        url = request.pop("url", None) or server.url
        return self.request("POST", url, provider_name="api", data={"a": "b c"}, **request)

    def failure(self, server=None, **request):
        """Do the same, expect it to fail, and return the error."""
        with pytest.raises(TokenAcquisitionError) as caught:
            self.post(server, **request)
        error = caught.value
        assert str(error).startswith("provider 'api': request to ")
        assert "\n" not in str(error)
        assert error.__context__ is None  # its frames would contain the secret
        assert (
            error.network_reason in NETWORK_REASONS
            or "InvalidURL" in str(error)
            or ("LocationParseError" in str(error))
        )
        return error


@pytest.fixture
def make_transport():
    """Return a factory for transports."""
    return Transport


@pytest.fixture
def transport(make_transport):
    """Return a transport with default options."""
    return make_transport()
