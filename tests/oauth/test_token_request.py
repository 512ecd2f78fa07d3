"""One token request: what the parts of its settings become."""

import json

import pytest
import requests
from kit.oauth_client import oauth_client

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.token_request import request_token

URL = "https://id.example.com/token"
GRANT = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}


class Wire:
    """A transport that records a request, and responds with a status and a document."""

    def __init__(self, status, document):
        self.answer = HttpAnswer(status, {}, json.dumps(document).encode())

    def request(self, *args, **options):
        self.call = args, options
        return self.answer


def ask(wire, grant, *, scope=None, warned=None, omitted=None):
    return request_token(
        oauth_client(OAuth2Config("api", "me", "hunter2", URL, None, {"audience": "a"}), wire),
        lambda _: grant,
        scope=scope,
        requested_scope=grant.get("scope"),
        warned=set() if warned is None else warned,
        omitted=set() if omitted is None else omitted,
    )


def test_what_is_sent():
    """The request has the grant, the client's credentials and the further parameters."""
    wire = Wire(200, GRANT)
    assert ask(wire, {"grant_type": "client_credentials", "scope": ""}).access_token == "abc"
    assert wire.call == (
        ("POST", URL),
        {
            "provider_name": "api",
            "authorization": None,
            "certificate": None,
            "data": {
                "audience": "a",
                "grant_type": "client_credentials",
                "client_id": "me",
                "client_secret": "hunter2",
            },
            "headers": {"Accept": "application/json"},
        },
    )


@pytest.mark.parametrize(
    ("grant_type", "advice"),
    [
        ("refresh_token", "Obtain a new one."),
        ("authorization_code", "Sign in again."),
        ("client_credentials", "have the server allow client credentials for it."),
    ],
)
def test_advice_for_the_grant(grant_type, advice):
    """What a refused grant means depends on its type."""
    with pytest.raises(TokenAcquisitionError) as caught:
        ask(Wire(400, {"error": "invalid_grant"}), {"grant_type": grant_type})
    assert advice in str(caught.value)
    assert caught.value.provider_name == "api"


def test_what_is_noted():
    """The caller's sets receive the warnings that were logged and the members left out."""
    warned, omitted = set(), set()
    document = {"access_token": "abc", "expires_in": "soon"}
    token = ask(Wire(200, document), {}, scope="read", warned=warned, omitted=omitted)
    assert token.scope == "read"
    assert len(warned) == 1
    assert "scope" in omitted


def test_the_name_of_the_provider(make_transport):
    """An error of the network names the provider."""

    def refuse(*_, **__):
        raise ConnectionRefusedError

    session = requests.Session()
    session.request = refuse
    with pytest.raises(TokenAcquisitionError) as caught:
        ask(make_transport(session=session), {})
    assert str(caught.value).startswith("provider 'api': request to id.example.com failed: ")
    assert caught.value.provider_name == "api"
