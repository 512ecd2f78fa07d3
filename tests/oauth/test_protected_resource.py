"""What a protected resource says about itself, and when it is not believed."""

import json

import pytest
from kit.servers.base import Answer, LoopbackServer

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.metadata_urls import is_trusted_from
from tokenkeeper.oauth.protected_resource import (
    ResourceChallenge,
    covers,
    request_protected_resource,
    resource_challenge,
    resource_metadata_urls,
)
from tokenkeeper.oauth.transport import HttpTransport

WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Published(LoopbackServer):
    """Answers requests for metadata as *published* says."""

    def __init__(self):
        self.published = {}
        super().__init__()

    def answer(self, request):
        return self.published.get(request.target, Answer(404))

    def document(self, path="/mcp", **members):
        """Return metadata of the resource at *path*."""
        return {
            "resource": f"{self.origin}{path}",
            "authorization_servers": [self.origin],
            **members,
        }

    def ask(self, path="/mcp", stated=""):
        return request_protected_resource(
            f"{self.origin}{path}", HttpTransport(), stated=stated, provider_name="api"
        )

    def failure(self, path="/mcp", stated=""):
        with pytest.raises(TokenAcquisitionError) as caught:
            self.ask(path, stated)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("provider 'api': ")
        return caught.value

    @property
    def asked(self):
        return [each.target for each in self.received]


@pytest.fixture
def server():
    with Published() as server:
        yield server


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, ResourceChallenge()),
        ("", ResourceChallenge()),
        ("Bearer", ResourceChallenge()),
        (
            'Bearer error="insufficient_scope", scope="a  b", resource_metadata="https://x.test/m"',
            ResourceChallenge("https://x.test/m", "a b", "insufficient_scope"),
        ),
        (
            'Basic realm="x", Bearer resource_metadata="https://x.test/m"',
            ResourceChallenge("https://x.test/m"),
        ),
        ('Bearer scope="a \\"b"', ResourceChallenge()),
    ],
)
def test_the_challenge(header, expected):
    """A challenge is read whatever it leaves out; a scope that can't be requested is left out."""
    assert resource_challenge(header) == expected


@pytest.mark.parametrize(
    ("url", "stated", "expected"),
    [
        ("https://x.test", "", [f"https://x.test{WELL_KNOWN}"]),
        ("https://x.test/", "", [f"https://x.test{WELL_KNOWN}"]),
        (
            "https://x.test/a/mcp?b=c",
            "",
            [f"https://x.test{WELL_KNOWN}/a/mcp", f"https://x.test{WELL_KNOWN}"],
        ),
        (
            "https://x.test/mcp",
            "https://y.test/m",
            [
                "https://y.test/m",
                f"https://x.test{WELL_KNOWN}/mcp",
                f"https://x.test{WELL_KNOWN}",
            ],
        ),
        ("https://x.test", f"https://x.test{WELL_KNOWN}", [f"https://x.test{WELL_KNOWN}"]),
        ("https://x.test", "http://127.0.0.1:1/m", [f"https://x.test{WELL_KNOWN}"]),
        ("https://x.test", "http://y.test/m", [f"https://x.test{WELL_KNOWN}"]),
    ],
)
def test_the_places(url, stated, expected):
    """The stated place comes first, then those of RFC 9728; no https server names plain http."""
    assert list(resource_metadata_urls(url, stated)) == expected


@pytest.mark.parametrize(
    ("source", "url", "trusted"),
    [
        ("https://x.test", "https://y.test/a", True),
        ("https://x.test", "http://127.0.0.1/a", False),
        ("http://127.0.0.1:1", "http://127.0.0.1:2/a", True),
        ("http://127.0.0.1:1", "https://y.test/a", True),
        ("http://127.0.0.1:1", "http://y.test/a", False),
        ("https://x.test", 7, False),
    ],
)
def test_whom_a_server_may_name(source, url, trusted):
    """A server may name https URLs, and plain http only from loopback to loopback."""
    assert is_trusted_from(source, url) is trusted


@pytest.mark.parametrize(
    ("resource", "url", "expected"),
    [
        ("https://x.test/mcp", "https://x.test/mcp", True),
        ("https://X.test/mcp", "https://x.test:443/mcp", True),
        ("https://x.test", "https://x.test/mcp", True),
        ("https://x.test/", "https://x.test/mcp", True),
        ("https://x.test/mcp/", "https://x.test/mcp", True),
        ("https://x.test/mcp", "https://x.test/mcp/messages?a=b", True),
        ("https://x.test/mcp", "https://x.test/mcp2", False),
        ("https://x.test/mcp/a", "https://x.test/mcp", False),
        ("https://y.test/mcp", "https://x.test/mcp", False),
        ("http://x.test/mcp", "https://x.test/mcp", False),
        ("https://x.test:8443/mcp", "https://x.test/mcp", False),
        ("https://x.test/mcp?a=b", "https://x.test/mcp", False),
        ("https://x.test/mcp#a", "https://x.test/mcp", False),
        ("https://x.test:port/mcp", "https://x.test/mcp", False),
        ("urn:mcp", "https://x.test/mcp", False),
    ],
)
def test_whose_metadata_it_is(resource, url, expected):
    """The resource is the URL, or the beginning of it up to a slash, at the same origin."""
    assert covers(resource, url) is expected


@pytest.mark.parametrize("place", [f"{WELL_KNOWN}/mcp", WELL_KNOWN])
def test_each_place(server, place):
    """The metadata is found at each place, and says which servers and scopes there are."""
    document = server.document(
        scopes_supported=["read", "write", "read", "two words", 'a"b', 7, ""]
    )
    server.published[place] = Answer(200, document)
    found = server.ask()
    assert found.url == server.origin + place
    assert found.resource == f"{server.origin}/mcp"
    assert found.authorization_servers == (server.origin,)
    assert found.scopes_supported == ("read", "write")


def test_the_stated_place_is_asked_first(server):
    """Where the challenge says where the metadata is, nothing else is requested."""
    server.published["/m"] = Answer(200, server.document())
    assert server.ask(stated=f"{server.origin}/m").scopes_supported == ()
    assert server.asked == ["/m"]


@pytest.mark.parametrize(
    "answer",
    [Answer(404), Answer(403), Answer(302), Answer(200, b"<html>"), Answer(200, {"a": 1})],
    ids=lambda each: f"{each.status} {each.content()}",
)
def test_none(server, answer):
    """A server without any metadata does not cause an error: older ones have none."""
    server.published[f"{WELL_KNOWN}/mcp"] = answer
    assert server.ask() is None
    assert server.asked == [f"{WELL_KNOWN}/mcp", WELL_KNOWN]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails(server, status):
    """A failing server is a transient failure: it does not say that there is no metadata."""
    server.published[f"{WELL_KNOWN}/mcp"] = Answer(status)
    error = server.failure()
    assert error.transient
    assert error.status_code == status


def test_another_place_in_time_of_need(server):
    """If one place fails, the metadata of the next one is used."""
    server.published[f"{WELL_KNOWN}/mcp"] = Answer(500)
    server.published[WELL_KNOWN] = Answer(200, server.document())
    assert server.ask().url == server.origin + WELL_KNOWN


def test_metadata_of_another_resource(server):
    """Metadata of another resource is not used, so it can't direct tokens elsewhere."""
    document = server.document() | {"resource": "https://victim.test/mcp"}
    server.published[f"{WELL_KNOWN}/mcp"] = Answer(200, document)
    error = server.failure()
    assert not error.transient
    assert "is that of 'https://victim.test/mcp', not of" in str(error)


@pytest.mark.parametrize(
    "servers",
    [None, [], "https://as.test", [7], ["http://as.test"], ["https://as.test?a=b"], ["as.test"]],
    ids=str,
)
def test_no_server_that_can_be_used(server, servers):
    """Metadata without an authorization server that may be asked is a final failure."""
    server.published[f"{WELL_KNOWN}/mcp"] = Answer(
        200, server.document(authorization_servers=servers)
    )
    error = server.failure()
    assert not error.transient
    assert "names no authorization server that can be used" in str(error)


def test_servers_in_order(server):
    """Servers that can't be used are skipped, and the others stay in their order."""
    servers = ["http://a.test", "https://b.test/x", "https://a.test"]
    server.published[WELL_KNOWN] = Answer(200, server.document(authorization_servers=servers))
    assert server.ask().authorization_servers == ("https://b.test/x", "https://a.test")


def test_a_server_on_this_machine():
    """An API that is reached by https can't have a program on this machine asked for tokens."""

    class Transport:
        def request(self, method, url, **options):
            servers = ["http://127.0.0.1:1", "https://as.test"]
            document = {"resource": "https://x.test", "authorization_servers": servers}
            return HttpAnswer(200, {}, json.dumps(document).encode())

    found = request_protected_resource("https://x.test/mcp", Transport(), provider_name="api")
    assert found.authorization_servers == ("https://as.test",)
