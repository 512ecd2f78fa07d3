"""How a client is registered, and which registrations are of use."""

import json

import pytest
from kit.servers.base import Answer, LoopbackServer

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.registration import (
    ClientRegistration,
    auth_method_for,
    checked_client_metadata_url,
    register_client,
)
from tokenkeeper.oauth.transport import HttpTransport

ISSUER = "https://as.test"
REDIRECT = "http://127.0.0.1:4711/callback"
SECRET = "correct-horse-battery-staple"
METADATA = {
    "client_name": "test",
    "redirect_uris": [REDIRECT],
    "token_endpoint_auth_method": "none",
    "scope": "read",
}


class Registrar(LoopbackServer):
    """Answers registrations."""

    def __init__(self):
        self.reply = Answer(201, {"client_id": "c1"})
        super().__init__()

    def answer(self, request):
        return self.reply

    def register(self, **metadata):
        return register_client(
            f"{self.origin}/register",
            METADATA | metadata,
            HttpTransport(),
            issuer=ISSUER,
            provider_name="api",
        )

    def failure(self, reply, **metadata):
        self.reply = reply
        with pytest.raises(TokenAcquisitionError) as caught:
            self.register(**metadata)
        assert str(caught.value).startswith(f"provider 'api': {ISSUER} ")
        assert "\n" not in str(caught.value)
        assert SECRET not in str(caught.value)
        return caught.value


@pytest.fixture
def registrar():
    with Registrar() as server:
        yield server


def test_the_request(registrar):
    """The metadata is sent as JSON, without any credentials."""
    registered = registrar.register()
    (sent,) = registrar.received
    assert json.loads(sent.body) == METADATA
    assert sent.headers["content-type"] == "application/json"
    assert "authorization" not in sent.headers
    assert registered == ClientRegistration(ISSUER, "c1", None, "none", (REDIRECT,), "read")


def test_what_the_server_replaces(registrar):
    """The server's own values take the place of those requested (RFC 7591 §3.2.1)."""
    registrar.reply = Answer(
        200,
        {
            "client_id": "c1",
            "client_secret": SECRET,
            "client_secret_expires_at": 2000000000,
            "token_endpoint_auth_method": "client_secret_post",
            "scope": "read write",
            "redirect_uris": [REDIRECT, "https://app.test/callback"],
        },
    )
    found = registrar.register()
    assert (found.client_secret, found.auth_method) == (SECRET, "client_secret_post")
    assert (found.scope, found.secret_expires_at) == ("read write", 2000000000)
    assert SECRET not in repr(found)


def test_members_that_are_not_set(registrar):
    """A member that is null or empty counts as left out."""
    registrar.reply = Answer(
        201,
        {
            "client_id": "c1",
            "client_secret": None,
            "token_endpoint_auth_method": "",
            "redirect_uris": None,
            "client_secret_expires_at": "soon",
        },
    )
    assert registrar.register() == ClientRegistration(
        ISSUER, "c1", None, "none", (REDIRECT,), "read"
    )


@pytest.mark.parametrize(
    ("sent", "expected"),
    [("2000000000", 2e9), (2e9, 2e9), ("0", 0.0), (-1, 0.0), (True, 0.0)],
    ids=["text", "number", "never", "negative", "a boolean"],
)
def test_when_a_secret_expires(registrar, sent, expected):
    """The time may be a text, as with other numbers that servers send."""
    registrar.reply = Answer(201, {"client_id": "c1", "client_secret_expires_at": sent})
    assert registrar.register().secret_expires_at == expected


def test_a_secret_that_is_not_needed(registrar):
    """A public client does not keep a secret that the server adds."""
    registrar.reply = Answer(201, {"client_id": "c1", "client_secret": SECRET})
    assert registrar.register().client_secret is None


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, "has no client_id"),
        ({"client_id": 7}, "has a client_id that is not a text"),
        ({"client_id": "a\nb"}, "has a client_id that is not a text"),
        ({"client_id": " "}, "has a client_id that is not a text"),
        ({"client_id": "\ud800"}, "has a client_id that is not a text"),
        (
            {"client_id": "c1", "token_endpoint_auth_method": "private_key_jwt"},
            "demands the token_endpoint_auth_method 'private_key_jwt', which needs a key",
        ),
        (
            {"client_id": "c1", "token_endpoint_auth_method": "client_secret_basic"},
            "has no client_secret, which client_secret_basic needs",
        ),
        (
            {"client_id": "c1", "redirect_uris": ["https://other.test"]},
            "has another redirect_uri than the one that was requested",
        ),
        ({"client_id": "c1", "redirect_uris": 7}, "has another redirect_uri"),
    ],
    ids=str,
)
def test_a_client_that_is_of_no_use(registrar, members, words):
    """A registration that can't be used is refused before anybody signs in with it."""
    error = registrar.failure(Answer(201, members))
    assert words in str(error)
    assert error.__context__ is None  # its frames hold the client's secret
    assert "Register one by hand and set client_id." in str(error)
    assert not error.transient


def test_a_response_that_is_not_json(registrar):
    """A web page registers nothing."""
    assert "the response is not JSON" in str(registrar.failure(Answer(200, b"<html>")))


def test_refused(registrar):
    """The server's own words are shown, and what to do."""
    error = registrar.failure(
        Answer(400, {"error": "invalid_redirect_uri", "error_description": "not registered here"})
    )
    assert str(error) == (
        f"provider 'api': {ISSUER} refused to register a client (HTTP 400): invalid_redirect_uri: "
        '"not registered here". Register one by hand and set client_id, or set '
        "client_metadata_url."
    )
    assert (error.error, error.status_code, error.transient) == ("invalid_redirect_uri", 400, False)


@pytest.mark.parametrize(("status", "transient"), [(403, False), (429, True), (503, True)])
def test_refused_without_a_word(registrar, status, transient):
    """Whether a refusal may pass, its status says."""
    error = registrar.failure(Answer(status))
    assert error.transient is transient
    assert f"(HTTP {status}). " in str(error)


@pytest.mark.parametrize(
    ("supported", "method"),
    [
        (None, "none"),
        ("none", "none"),
        (["client_secret_basic", "none"], "none"),
        (["client_secret_basic", "client_secret_post"], "client_secret_post"),
        (("client_secret_basic",), "client_secret_basic"),
        (["private_key_jwt"], "none"),
    ],
)
def test_the_authentication_to_register(supported, method):
    """A public client is preferred: a program on a user's machine can't keep a secret."""
    assert auth_method_for(supported) == method


@pytest.mark.parametrize(
    ("supported", "method"),
    [
        (None, "client_secret_basic"),
        (["none"], "client_secret_basic"),
        (["none", "client_secret_post"], "client_secret_post"),
        (["client_secret_basic", "none"], "client_secret_basic"),
        (["private_key_jwt"], "client_secret_basic"),
    ],
    ids=["unlisted", "none alone", "post", "basic", "key alone"],
)
def test_the_authentication_of_a_client_on_its_own(supported, method):
    """A client that gets tokens for itself always has a secret (RFC 6749 §4.4)."""
    assert auth_method_for(supported, confidential=True) == method


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/a", "https://x.test", "https://x.test/", "https://x.test/a?b", 7]
)
def test_a_document_that_can_not_be_a_client(url):
    """A client_id that is a URL is https and has a path."""
    with pytest.raises(InvalidConfigurationError) as caught:
        checked_client_metadata_url(url)
    assert caught.value.field == "client_metadata_url"


def test_a_document():
    """An https URL with a path can be a client_id."""
    url = "https://app.test/client.json"
    assert checked_client_metadata_url(url) == url


@pytest.mark.parametrize(
    ("registration", "now", "scope", "usable"),
    [
        (ClientRegistration(ISSUER, "c1"), 10.0, ("any",), True),
        (ClientRegistration(ISSUER, "c1", scope="a b"), 10.0, ("b",), True),
        (ClientRegistration(ISSUER, "c1", scope="a b"), 10.0, ("b", "c"), False),
        (ClientRegistration(ISSUER, "c1", secret_expires_at=10.0), 9.9, (), True),
        (ClientRegistration(ISSUER, "c1", secret_expires_at=10.0), 10.0, (), False),
    ],
    ids=str,
)
def test_whether_it_is_of_use(registration, now, scope, usable):
    """A registration serves until its secret expires, for the scopes that were registered."""
    assert registration.is_usable(now, scope) is usable


def test_kept_as_members():
    """A registration survives being written and read."""
    whole = ClientRegistration(ISSUER, "c1", SECRET, "client_secret_post", (REDIRECT,), "a b", 7.0)
    assert ClientRegistration.from_members(json.loads(json.dumps(whole.to_members()))) == whole


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": 7},
        {"issuer": None},
        {"client_secret": 7},
        {"redirect_uris": "x"},
        {"secret_expires_at": "soon"},
    ],
    ids=str,
)
def test_members_of_something_else(change):
    """Anything else is not taken for a registration."""
    with pytest.raises(ValueError, match="not the registration"):
        ClientRegistration.from_members(ClientRegistration(ISSUER, "c1").to_members() | change)
