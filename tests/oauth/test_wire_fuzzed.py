"""Fuzzed bytes instead of HTTP: each gives a valid token or our error."""

import pytest
from fuzz.oracle import fits_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError

# all examples of a test share its server
SAME_SERVER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])

HEADERS = st.sampled_from(
    [
        *[b"Content-Length: 3", b"Content-Length: -1", b"Content-Length: 9" + b"9" * 30],
        *[
            b"Content-Length: 3, 3",
            b"Content-Length: \xb2",
            b"Content-Length: 1\r\nContent-Length: 2",
        ],
        *[b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Connection: close"],
        *[b"Content-Encoding: gzip", b"Content-Encoding: deflate", b"Content-Encoding: br, gzip"],
        *[b"Location: http://[", b"Location: https://x:port/", b"Location: \xff", b"Location: /"],
        *[
            b"Retry-After: \x1f7",
            b"Retry-After: -1",
            b"Date: soon",
            b"Set-Cookie: a=b; Domain=\xff",
        ],
        *[b"no colon", b" folded", b": no name", b"X: " + b"y" * 70_000, b"\x00: \x00", b"X: 1"],
    ]
) | st.binary(max_size=20)
STATUS_LINES = st.sampled_from(
    [
        *[b"HTTP/1.1 200 OK", b"HTTP/1.1 302 Found", b"HTTP/1.1 401 ", b"HTTP/1.0 503 Busy"],
        *[b"HTTP/1.1 100 Continue", b"HTTP/1.1 204 None", b"HTTP/1.1 999 ?", b"HTTP/1.1 99 ?"],
        *[b"HTTP/9.9 200 OK", b"HTTP/1.1 abc OK", b"HTTP/1.1", b"ICY 200 OK", b"HTTP/1.1 429 \xff"],
    ]
)
BODIES = st.sampled_from(
    [
        b"",
        b"{}",
        b'{"access_token": "abc"}',
        b"3\r\n{} \r\n0\r\n\r\n",
        b"fffffffff\r\n{}",
        b"-1\r\n",
    ]
) | st.binary(max_size=60)


def raw(payload):
    """Send *payload* and close the connection."""

    def script(server, sock):
        server.read_request(sock)
        sock.sendall(payload)

    return script


@pytest.fixture
def server(make_server):
    return make_server()


@SAME_SERVER
@given(
    payload=st.binary(max_size=100)
    | st.builds(
        lambda status, headers, body: b"\r\n".join([status, *headers, b"", body]),
        STATUS_LINES,
        st.lists(HEADERS, max_size=4),
        BODIES,
    )
)
def test_any_bytes_on_the_wire(server, payload):
    """Bytes that are not HTTP, or stop being HTTP, are a failed request."""
    server.scripts.append(raw(payload))
    provider = GenericOAuth2Provider(OAuth2Config("api", "id", "hunter2hunter2", server.url))
    token, failure = None, ""
    try:
        token = provider.acquire_token().access_token
    except TokenAcquisitionError as error:
        failure = str(error)
    finally:
        provider.close()
    assert fits_header(token) if token else failure.startswith("provider 'api': ")
    assert failure.isprintable()


@pytest.mark.parametrize("location", ["/elsewhere", "http://[", "https://x:port/", "\x00", "//"])
def test_any_redirect(transport, make_server, location):
    """A redirect is reported as one, and never followed."""
    reply = make_server.reply(b"", status="302 Found", headers=[f"Location: {location}"])
    server = make_server(reply)
    assert transport.post(server).status == 302


def test_the_body_of_a_redirect_ends_too(transport, make_server):
    """The body of a redirect has the same limit as others."""
    sent = []

    def script(server, sock):
        server.read_request(sock)
        sock.sendall(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 99999999\r\n\r\n")
        for _ in range(99):
            sock.sendall(b"x" * 1_000_000)
            sent.append(1)

    server = make_server(script)
    assert "longer than 1 MiB" in str(transport.failure(server))
    assert server.hung_up.acquire(timeout=20)
    assert len(sent) < 50
