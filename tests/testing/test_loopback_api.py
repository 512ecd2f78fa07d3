"""The protected API of the loopback server, with every usual method."""

from contextlib import closing
from http.client import HTTPConnection

import pytest
import requests

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import LoopbackAuthorizationServer


@pytest.fixture
def call(session, ask, server):
    """Return a function that calls the API with a method, and a valid token by default."""
    token = ask(server).json()["access_token"]

    def call(method, token=token, **options):
        headers = {"Authorization": f"Bearer {token}"}
        return session.request(method, server.api_url, headers=headers, timeout=10, **options)

    return call


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_what_arrived(call, method):
    """The answer has the method and the body that arrived."""
    answer = call(method, data="sént".encode()).json()
    assert answer == {"path": "/api/things", "method": method, "body": "sént"}
    assert call(method).json() == {"path": "/api/things", "method": method}


def test_get_and_head(call):
    """HEAD has the headers of GET without its body."""
    get, head = call("GET"), call("HEAD")
    assert get.json() == {"path": "/api/things"}
    assert head.content == b""
    assert head.headers["Content-Length"] == get.headers["Content-Length"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "DELETE", "OPTIONS"])
def test_each_method_needs_a_token(call, method, server):
    """Every method is refused without a valid token, and such calls are counted."""
    answer = call(method, token="made up")
    assert answer.status_code == 401
    assert "invalid_token" in answer.headers["WWW-Authenticate"]
    assert server.stats().api_refused == {"unknown": 1}


def test_options_and_other_methods(call):
    """OPTIONS names the methods; one that is not among them is refused."""
    assert "PATCH" in call("OPTIONS").headers["Allow"]
    assert call("TRACE").status_code == 501


def test_a_connection_outlives_a_head(server):
    """A connection serves the next request after HEAD, so no body was sent."""
    with closing(HTTPConnection("127.0.0.1", int(server.issuer.rpartition(":")[2]))) as client:
        client.timeout = 10
        for path in ("/.well-known/oauth-authorization-server", "/api/x", "/nowhere"):
            client.request("HEAD", path)
            assert client.getresponse().read() == b""
        client.request("GET", "/nowhere")
        assert client.getresponse().read()


def test_a_refused_post_is_sent_again(server):
    """A client's request with a body arrives complete after its token was revoked."""
    with TokenKeeper() as keeper:
        keeper.add_provider(server.provider("api"))
        auth = keeper.auth("api")
        keeper.get_token("api")
        server.revoke_all()
        answer = requests.post(server.api_url, json={"a": 1}, auth=auth, timeout=10)
    assert answer.json()["body"] == '{"a": 1}'
    assert server.stats().api_refused == {"revoked": 1}


def test_is_alive(server, ask):
    """A token is alive from its grant to its revocation."""
    token = ask(server).json()["access_token"]
    assert server.is_alive(token)
    assert not server.is_alive("made up")
    assert server.revoke(token)
    assert not server.is_alive(token)


def test_is_alive_until_the_expiry(stepped_clock, ask):
    """A token is alive to the last tick before its expiry."""
    with LoopbackAuthorizationServer(lifetime_seconds=60) as server:
        token = ask(server).json()["access_token"]
        stepped_clock.step(59.999)
        assert server.is_alive(token)
        stepped_clock.step(0.001)
        assert not server.is_alive(token)
