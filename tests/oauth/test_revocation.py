"""One revocation request (RFC 7009): what is sent, and what each answer means."""

import json
from datetime import UTC, datetime

import pytest
from kit.oauth_client import oauth_client

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.request_style import RequestStyle
from tokenkeeper.oauth.revocation import Revocation, revoke_token
from tokenkeeper.oauth.server import NoEndpointError

TOKEN = "refresh-token-which-is-never-shown"
URL, REVOKE = "https://id.example.com/token", "https://id.example.com/revoke"


class Wire:
    """A transport that notes a request, and answers it."""

    def __init__(self, status=200, body="", headers=None):
        body = body if isinstance(body, str) else json.dumps(body)
        self.answer = HttpAnswer(status, headers or {}, body.encode())
        self.calls = []

    def request(self, *arguments, **options):
        self.calls.append((arguments, options))
        return self.answer


def revoke(wire, kind="refresh_token", *, endpoints=None, style=None):
    endpoints = {"revocation_endpoint": REVOKE} if endpoints is None else endpoints
    config = OAuth2Config("api", "me", "hunter2", URL, endpoints=endpoints)
    revoke_token(oauth_client(config, wire, style=style), TOKEN, kind)


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
def test_what_is_sent(kind):
    """The token goes with its kind as a hint, in a form, from the authenticated client."""
    wire = Wire()
    revoke(wire, kind, style=RequestStyle("json", "text/plain", {"X-Tenant": "acme"}))
    ((arguments, options),) = wire.calls
    assert arguments == ("POST", REVOKE)
    assert options["data"] == {
        "token": TOKEN,
        "token_type_hint": kind,
        "client_id": "me",
        "client_secret": "hunter2",
    }
    assert options["headers"] == {"Accept": "application/json", "X-Tenant": "acme"}


DONE = {
    "200": (200, ""),
    "200 with an object": (200, {}),
    "200 with words": (200, "done"),
    "204": (204, ""),
    "Google: it was not valid": (400, {"error": "invalid_token"}),
    "200: it was not valid": (200, {"error": "invalid_token"}),
}


@pytest.mark.parametrize(("status", "body"), DONE.values(), ids=DONE)
def test_revoked(status, body):
    """A success is a success whatever its content, and so is a token that is not valid any more."""
    revoke(Wire(status, body))


REFUSED = {
    "unsupported_token_type": (
        *(400, {"error": "unsupported_token_type"}, {}),
        *(False, None, "can't be revoked, and is valid until it expires"),
    ),
    "503 with Retry-After": (503, "", {"retry-after": "17"}, True, 17.0, "asks to wait 17 s"),
    "500": (500, "", {}, True, None, "(HTTP 500)"),
    "invalid_client": (401, {"error": "invalid_client"}, {}, False, None, "client_secret"),
    "an error with status 200": (
        *(200, {"error": "temporarily_unavailable"}, {}),
        *(True, None, "temporarily_unavailable"),
    ),
    "a redirect": (
        *(302, "", {"location": "https://other.example/x"}),
        *(False, None, "the revocation endpoint redirects to other.example"),
    ),
    "a web page": (
        *(404, "<html>", {"content-type": "text/html"}),
        *(False, None, "is a revocation endpoint"),
    ),
    "a gateway": (
        *(401, "", {"www-authenticate": 'Bearer error="invalid_token"'}),
        *(False, None, "invalid_token"),
    ),
    "an invalid token that may be another": (
        *(403, {"error": "invalid_token"}, {}),
        *(False, None, "invalid_token"),
    ),
    "an unavailable token": (
        *(503, {"error": "invalid_token"}, {"retry-after": "1"}),
        *(True, 1.0, "invalid_token"),
    ),
}


@pytest.mark.parametrize(
    ("status", "body", "headers", "transient", "wait", "words"), REFUSED.values(), ids=REFUSED
)
def test_refused(status, body, headers, transient, wait, words):
    """A refusal says what failed, what to do, and whether to call again; never the token."""
    with pytest.raises(TokenAcquisitionError) as caught:
        revoke(Wire(status, body, headers))
    error = caught.value
    said = str(error)
    assert said.startswith(f"provider 'api': revocation failed (HTTP {status})")
    assert words in said
    assert "token request" not in said
    assert (error.transient, error.retry_after, error.status_code) == (transient, wait, status)


def test_an_echo_of_the_token():
    """A server that repeats the token in its refusal does not bring it into the message."""
    body = {"error": "invalid_request", "error_description": f"unknown token {TOKEN}"}
    with pytest.raises(TokenAcquisitionError) as caught:
        revoke(Wire(400, body))
    assert TOKEN not in f"{caught.value} {caught.value.error_description}"


def test_no_endpoint():
    """A server whose endpoint is not known is asked nothing, and the message says what to set."""
    wire = Wire()
    with pytest.raises(NoEndpointError, match=r"revocation_endpoint is not known\. Set it in endp"):
        revoke(wire, endpoints={})
    assert wire.calls == []


GOES_WITH = {
    "a refresh token": ("refresh_token", True, "all access tokens of the same grant"),
    "an access token": ("access_token", True, "are not affected"),
    "nothing": (None, False, "was not asked"),
}


@pytest.mark.parametrize(("kind", "was_asked", "words"), GOES_WITH.values(), ids=GOES_WITH)
def test_what_goes_with_it(kind, was_asked, words):
    """The result says what the server revokes together with the token."""
    assert words in Revocation("api", kind, was_asked).goes_with


def test_what_may_go_with_it():
    """Some servers revoke the refresh token with an access token of its grant."""
    found = Revocation("api", "access_token", True, keeps_refresh_token=True)
    assert "may have revoked the refresh token" in found.goes_with


def test_no_personal_data_in_repr():
    """The name of a token may have an account in it, so a result does not show it."""
    until = datetime(2026, 1, 1, tzinfo=UTC)
    found = Revocation("api", "refresh_token", True, 2, until, token_name="api\nada@example.com")
    assert "ada" not in repr(found)
    assert (found.forgotten, found.valid_until) == (2, until)
