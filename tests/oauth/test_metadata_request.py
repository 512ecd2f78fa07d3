"""How the metadata of an issuer is requested, and what is wrong if there is none."""

import pytest
from kit.servers.base import Answer
from kit.servers.issuer import OAUTH, OPENID, IssuerServer
from kit.servers.tls import context_of

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.metadata_request import MetadataFailure, read_metadata, request_metadata
from tokenkeeper.oauth.transport import HttpTransport


@pytest.fixture
def server():
    with IssuerServer() as server:
        yield server


def request(issuer, *, seconds=10.0, clock=SYSTEM_CLOCK, **options):
    transport = HttpTransport(clock=clock, **options)
    return request_metadata(issuer, transport, clock, provider_name="api", seconds=seconds)


def failure(issuer, **options):
    found = request(issuer, **options)
    assert isinstance(found, MetadataFailure)
    assert "\n" not in found.problem
    assert issuer in found.problem
    return found


@pytest.mark.parametrize(
    ("path", "place", "requested"),
    [
        ("", OAUTH, [OAUTH]),
        ("", OPENID, [OAUTH, OPENID]),
        ("/", OAUTH, [OAUTH]),
        ("/", OPENID, [OAUTH, OPENID]),
        ("/t1", f"{OAUTH}/t1", [f"{OAUTH}/t1"]),
        ("/t1", f"{OPENID}/t1", [f"{OAUTH}/t1", f"{OPENID}/t1"]),
        ("/t1", f"/t1{OPENID}", [f"{OAUTH}/t1", f"{OPENID}/t1", f"/t1{OPENID}"]),
        ("/t1/", f"/t1{OPENID}", [f"{OAUTH}/t1", f"{OPENID}/t1", f"/t1{OPENID}"]),
    ],
)
def test_each_place(server, path, place, requested):
    """The metadata is found at each of its places, which are requested in order."""
    issuer = server.publish(path, at=place)
    found = request(issuer)
    assert (found.issuer, found.url) == (issuer, server.origin + place)
    assert found.content["token_endpoint"] == f"{server.origin}/token"
    assert server.metadata_requests == requested


def test_nothing_secret_is_sent(server):
    """A request for metadata carries no credentials, cookies or body."""
    request(server.publish())
    (sent,) = server.received
    assert not {"authorization", "cookie", "content-length"} & sent.headers.keys()
    assert sent.headers["accept"] == "application/json"


ELSEWHERE = [
    Answer(404),
    Answer(403, {"error": "forbidden"}),
    Answer(400, {}),
    Answer(302, b"", {"Location": "https://login.test/"}),
    Answer(200, b"<!doctype html><title>Sign in</title>", {"Content-Type": "text/html"}),
    Answer(200, b"[]"),
    Answer(200, {"error": "unknown page"}),
    Answer(200, {"issuer": "https://other.test", "token_endpoint": "https://other.test/token"}),
    Answer(500),
    Answer(503, b"", {"Retry-After": "9"}),
]


@pytest.mark.parametrize("answer", ELSEWHERE, ids=lambda each: f"{each.status} {each.content()}")
def test_a_place_that_the_server_does_not_know(server, answer):
    """Whatever a server answers at one place, the metadata at the next one is used."""
    issuer = server.publish(at=OPENID)
    server.published[OAUTH] = answer
    assert request(issuer).url == issuer + OPENID


@pytest.mark.parametrize(
    "spell",
    [
        lambda origin: origin + "/",
        lambda origin: origin.upper(),
        lambda origin: "https://attacker.test",
        lambda origin: [origin],
        lambda origin: 7,
    ],
)
def test_another_issuer(server, spell):
    """An issuer that is spelled in another way is a final failure, which shows both."""
    other = spell(server.origin)
    issuer = server.publish(issuer=other)
    found = failure(issuer)
    assert found.problem.startswith(f"the metadata at {issuer}{OAUTH} is that of the issuer")
    assert repr(str(other)) in found.problem or repr(other) in found.problem
    assert f"not {issuer!r}. Set issuer exactly as the server spells it" in found.problem
    assert not found.transient


def test_metadata_of_an_attacker(server):
    """The metadata of another issuer is not used, even where all of its endpoints would be."""
    server.publish(issuer="https://attacker.test", token_endpoint=f"{server.origin}/token")
    assert "https://attacker.test" in failure(server.origin).problem


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (Answer(404), "answered HTTP 404"),
        (
            Answer(301, b"", {"Location": "/x"}),
            "answered HTTP 301, a redirect, which is not followed",
        ),
        (Answer(200, b"<html>"), "answered with something that is not JSON"),
        (Answer(200, b"[]"), "answered with something that is a JSON array, not an object"),
        (Answer(200, {}), "answered with JSON that states no issuer"),
    ],
)
def test_none(server, answer, words):
    """If there is no metadata, each place is named with what it answered."""
    server.published[OAUTH] = answer
    found = failure(server.origin)
    assert found.problem == (
        f"the metadata of {server.origin} could not be had: {server.origin}{OAUTH} {words}; "
        f"{server.origin}{OPENID} answered HTTP 404. Check issuer, or set token_url in its place."
    )
    assert not found.transient


def test_a_redirect_is_not_followed(server):
    """A redirect to metadata that looks right is not followed."""
    issuer = server.publish(at="/elsewhere")
    for place in (OAUTH, OPENID):
        server.published[place] = Answer(302, b"", {"Location": f"{issuer}/elsewhere"})
    failure(issuer)
    assert server.metadata_requests == [OAUTH, OPENID]


@pytest.mark.parametrize(
    ("answer", "wait", "requests"),
    [
        (Answer(500), None, 2),
        (Answer(502, b"<html>"), None, 2),
        (Answer(503, b"", {"Retry-After": "9"}), 9.0, 2),
        (Answer(408), None, 2),
        (Answer(429, b"", {"Retry-After": "7"}), 7.0, 1),
    ],
)
def test_a_server_that_is_unavailable(server, answer, wait, requests):
    """A server that is unavailable or busy at one place may have the metadata there later."""
    server.published[OAUTH] = answer
    found = failure(server.origin)
    assert found.transient
    assert (found.status_code, found.retry_after) == (answer.status, wait)
    assert f"{server.origin}{OAUTH} answered HTTP {answer.status}. If this" in found.problem
    assert len(server.received) == requests


def test_no_connection(server):
    """A connection that fails is transient, one request, and named as one for metadata."""
    server.stop()
    found = failure(server.origin)
    assert found.transient
    assert found.network_reason == "connection_refused"
    start = f"the metadata of {server.origin} could not be had: request to 127.0.0.1:"
    assert found.problem.startswith(start)
    assert isinstance(found.error("api", 0.0).__cause__, ConnectionRefusedError)


def test_a_certificate_that_is_not_trusted(authority, ca_file):
    """Over https, the metadata comes from a server with a certificate for the issuer's host."""
    with IssuerServer(tls=context_of(authority, "127.0.0.1")) as server:
        issuer = server.publish(token_endpoint="https://tokens.test/token")
        found = failure(issuer)
        assert (found.network_reason, found.transient) == ("tls", False)
        document = request(issuer, verify=ca_file)
        assert document.endpoint("token_endpoint") == "https://tokens.test/token"


@pytest.mark.parametrize("number", [0, 1])
def test_answers_of_another_request(server, clock, number):
    """What somebody else requested, such as the doctor, is read in the same way."""
    issuer = server.origin
    answers = [(url, HttpAnswer(404, {}, b"")) for url in (issuer + OAUTH, issuer + OPENID)]
    failed = read_metadata(issuer, answers, clock)
    assert failed.problem.endswith("Check issuer, or set token_url in its place.")
    url = answers[number][0]
    answers[number] = (url, HttpAnswer(200, {}, b'{"issuer": "%s"}' % issuer.encode()))
    assert read_metadata(issuer, answers, clock).url == url


def test_one_limit_for_all_requests(server, clock):
    """The places share one time limit."""

    class Slow(IssuerServer):
        def answer(self, request):
            clock.step(4)
            return super().answer(request)

    with Slow() as slow:
        found = failure(f"{slow.origin}/t1", seconds=7.0, clock=clock)
        assert (found.transient, found.network_reason) == (True, "timeout")
        assert "(total_timeout of 3 s)" in found.problem
        assert len(slow.received) == 2


def test_no_time_for_the_next_place(clock):
    """A place is not requested once the time is over."""

    class SlowTransport(HttpTransport):
        def request(self, *arguments, **options):
            clock.step(5)
            return Answer404()

    class Answer404:
        ok, status, headers, body = False, 404, {}, b""

    transport = SlowTransport(clock=clock)
    found = request_metadata("https://id.test", transport, clock, provider_name="api", seconds=5.0)
    assert found.problem == (
        "the metadata of https://id.test could not be had: there was no answer within 5 s."
    )
    assert (found.transient, found.network_reason) == (True, "timeout")


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 3600),
        ("max-age=86400", 3600),
        ("public, max-age=600", 600),
        ('MAX-AGE="600"', 600),
        ("max-age=5", 300),
        ("max-age=0, must-revalidate", 300),
        ("no-store, no-cache", 3600),
        ("s-maxage=600", 3600),
        ("max-age=many", 3600),
    ],
)
def test_how_long_it_is_fresh(server, clock, header, seconds):
    """A ``max-age`` shortens the hour, down to five minutes; other directives do not."""
    issuer = server.publish(headers={"Cache-Control": header})
    assert request(issuer, clock=clock).fresh_until - clock.monotonic() == seconds


def test_the_error():
    """An error names the provider, and if it may pass also when to ask again."""
    lasting = MetadataFailure("a.", status_code=404, again_at=9.0).error("api", 4.0)
    passing = MetadataFailure("a.", True, again_at=9.0).error("api", 4.0)
    assert str(lasting) == "provider 'api': a."
    assert isinstance(lasting, TokenAcquisitionError)
    assert (lasting.transient, lasting.retry_after, lasting.status_code) == (False, None, 404)
    assert (passing.transient, passing.retry_after, passing.provider_name) == (True, 5.0, "api")
    assert MetadataFailure("a.", True, again_at=9.0).error("api", 10.0).retry_after == 0.0
