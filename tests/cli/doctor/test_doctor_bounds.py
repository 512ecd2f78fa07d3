"""Whatever servers, proxies and the resolver do, the doctor ends in time with a finding."""

import socket
import threading
import time

import pytest
from kit.servers.raw import Scripted, without_end

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Step
from tokenkeeper.doctor.network import check_dns
from tokenkeeper.doctor.provider_facts import ProviderFacts, read_facts
from tokenkeeper.testing import MockProvider

ENOUGH_SECONDS = 15
"""For an examination in which one step takes its second, on a busy machine."""


@pytest.fixture
def in_time(examine):
    """Return a function that examines with a second for each step, and checks the total time."""

    def in_time():
        began = time.monotonic()
        outcome = examine("--timeout", "1")
        assert time.monotonic() - began < ENOUGH_SECONDS
        return outcome

    return in_time


@pytest.mark.parametrize(
    ("headers", "skew"),
    [
        ({"Age": "9" * 400}, 0),
        ({"Age": "9" * 5000}, 0),
        ({"Age": "-5"}, 0),
        ({"Age": "1e400"}, 0),
        ({"Age": "\u00b2\u00b9"}, 0),
        ({"Age": "0" * 60_000}, 0),
        ({"Age": "7"}, 7),
        ({"Date": "Mon, 01 Jan 9999 00:00:00 -2359"}, "seconds"),
        ({"Date": "Mon, 01 Jan 0001 00:00:00 +2359"}, "seconds"),
        ({"Date": "Mon, 99 Foo 99999999 99:99:99 GMT"}, None),
        ({"Date": "Mon, 01 Jan 2026 00:00:00 +" + "9" * 400}, None),
        ({"Date": "9" * 5000}, None),
        ({"Date": "Mon, " * 9000}, None),
        ({"Date": ""}, None),
    ],
)
def test_odd_dates(describe, in_time, server, headers, skew):
    """An impossible date or age is ignored, and the clock step succeeds."""
    server.headers = headers
    if "Date" in headers:
        server.skew = None
    describe()
    code, seen = in_time()
    assert code == 0, seen
    found = seen["clock"].facts["skew_seconds"]
    if skew == "seconds":
        assert found is None or abs(found) > 1e8
    elif skew is None:
        assert found is None
    else:
        assert abs(found - skew) < 5


@pytest.mark.parametrize(
    "headers",
    [
        {"Retry-After": "9" * 400},
        {"Retry-After": "9" * 5000},
        {"Retry-After": "Mon, 01 Jan 99999 00:00:00 GMT"},
        {"Content-Length": "9" * 400},
        {"Content-Length": "9" * 5000},
        {"Content-Length": "-1"},
        {"Content-Length": "0x10"},
        {"Content-Length": "\u00b2"},
        {"Content-Type": "application/json; charset=" + "x" * 60_000},
        {"Content-Type": "\x1b[31m"},
        {"Content-Encoding": "gzip"},
        {"Transfer-Encoding": "chunked"},
        {"WWW-Authenticate": "Basic realm=" + '"' * 50_000},
        {"X-Long": "x" * 10_000_000},
        {f"X-{n}": "x" for n in range(3000)},
        {"Set-Cookie": "a=b; expires=" + "9" * 5000},
        {"Location": "http://[::1"},
    ],
    ids=lambda headers: next(iter(headers)),
)
@pytest.mark.parametrize("status", [200, 401, 503])
def test_odd_headers(describe, in_time, server, headers, status):
    """No header of a server can cause more than a finding."""
    server.headers = headers
    server.publish()
    server.granted = (status, server.granted)
    describe()
    code, seen = in_time()
    assert code in (0, Step.CREDENTIALS)
    assert "\x1b" not in repr(seen["credentials"].text.encode())


OK_LINE = b"HTTP/1.1 200 Connection established\r\n"


@pytest.mark.parametrize(
    ("head", "piece", "pause", "words"),
    [
        (OK_LINE, b"X-Header: x\r\n", 0, "the proxy closed the connection"),
        (OK_LINE, b"x" * 4096, 0, "the proxy closed the connection"),
        (b"", b"H" * 512, 0, "the proxy closed the connection"),
        (OK_LINE, b"X: x\r\n", 0.1, "no handshake within 1 s"),
        (b"", b"H", 0.1, "no handshake within 1 s"),
        (b"HTTP/1.1 503 Busy\r\n", b"X: x\r\n", 0, "HTTP 503"),
        (b"HTTP/1.1 " + b"9" * 5000 + b" OK\r\n\r\n", b"", 60, "the proxy closed the connection"),
        (b"HTTP/1.1 403 \x1b[31m\r\n\r\n", b"", 60, "HTTP 403"),
        (b"\x00\x01\x02\r\n\r\n", b"", 60, "the proxy closed the connection"),
        (OK_LINE + b"\r\n", b"", 60, "no handshake within 1 s"),
    ],
)
def test_proxies_without_end(describe, in_time, environment, head, piece, pause, words):
    """A proxy that sends endless headers, or a byte now and then, is a finding in time."""
    with Scripted(always=without_end(head, piece, pause)) as proxy:
        environment.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy.port}")
        describe("https://id.inside.invalid/token")
        code, seen = in_time()
    assert code == Step.TLS
    assert words in seen["tls"].text


@pytest.mark.parametrize(("head", "piece"), [(b"\x16\x03\x03\x00\x7a", b"\x02"), (b"", b"")])
def test_a_handshake_without_end(describe, in_time, head, piece):
    """A server that sends its handshake a byte at a time is a finding in time."""
    with Scripted(always=without_end(head, piece, 0.1)) as server:
        describe(f"https://127.0.0.1:{server.port}/token")
        code, seen = in_time()
    assert code == Step.TLS
    assert "no handshake within 1 s" in seen["tls"].text


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: x\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n", b" "),
    ],
)
def test_answers_without_end(describe, in_time, head, piece):
    """A server whose response never ends is a finding in time."""
    with Scripted(always=without_end(head, piece, 0.1)) as server:
        describe(f"http://127.0.0.1:{server.port}/token")
        code, seen = in_time()
    assert code == Step.CREDENTIALS
    assert "no response within 1 s" in seen["metadata"].text


@pytest.mark.parametrize("hangs_at", [1, 2])
def test_a_resolver_that_hangs(describe, in_time, environment, server, hangs_at):
    """The resolver has no more time than the step, also when the transport asks it."""
    asked = []
    released = threading.Event()
    resolve = socket.getaddrinfo

    def hang(host, *arguments, **options):
        if host == "localhost":
            asked.append(host)
            if len(asked) >= hangs_at:
                released.wait(60)
        return resolve(host, *arguments, **options)

    environment.setattr(socket, "getaddrinfo", hang)
    describe(server.token_url.replace("127.0.0.1", "localhost"))
    try:
        code, seen = in_time()
    finally:
        released.set()
    assert code == (Step.DNS if hangs_at == 1 else Step.CREDENTIALS)
    step = seen["dns" if hangs_at == 1 else "metadata"]
    assert "within 1 s" in step.text


NAMES = {
    "fa\u00df.example": "xn--fa-hia.example",  # IDNA 2003 made it fass.example
    "\u03bd\u03af\u03ba\u03bf\u03c2.example": "xn--kxawhkp.example",  # and the last letter another
    "B\u00dcCHER.example": "xn--bcher-kva.example",
    "b\u00fccher\u3002example": None,
    "\u200dx.example": None,
    "ID.EXAMPLE": "id.example",
    "id.example.": "id.example.",
    "127.0.0.1": "127.0.0.1",
    "[::1]": "::1",
}


@pytest.mark.parametrize(("written", "asked"), NAMES.items())
def test_internationalized_names(monkeypatch, written, asked):
    """The doctor looks up the same name as the token request, by IDNA 2008."""
    seen = []

    def resolve(host, *_):
        seen.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    provider = GenericOAuth2Provider(
        OAuth2Config("api", "id", "secret", f"https://{written}/token"), verify=False
    )
    assert check_dns(Examination(read_facts(provider), 5.0)).failed
    looked_up, seen = seen, []
    with pytest.raises(TokenAcquisitionError):
        provider.acquire_token()
    assert looked_up == ([] if asked is None else [asked])
    assert set(seen) == set(looked_up)


@pytest.mark.parametrize("url", ["https://" + "a" * 64 + ".example/", "https://*.example/"])
def test_invalid_names(url):
    """A name that no resolver accepts is a finding."""
    facts = ProviderFacts(MockProvider("api"), "generic", url)
    report = check_dns(Examination(facts, 5.0))
    assert report.failed
