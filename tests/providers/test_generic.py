"""GenericOAuth2Provider: its requests, and how it reads responses."""

import base64
import json
import pickle
import traceback
from datetime import timedelta
from urllib.parse import parse_qsl

import pytest
import requests
import responses

from tokenkeeper import (
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.testing import LoopbackAuthorizationServer

URL = "https://id.example.com/token"
GRANT = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}


def config(**changes):
    fields = {
        "provider_name": "api",
        "client_id": "me",
        "client_secret": "p %+/",
        "token_url": URL,
    }
    return OAuth2Config(**(fields | changes))


@pytest.fixture
def wire():
    """Respond to requests without a server."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def form_of(call):
    return parse_qsl(call.request.body, keep_blank_values=True)


class TestClientCredentials:
    """RFC 6749 §4.4."""

    def test_request(self, wire):
        """One POST with the grant, HTTP Basic, and the additional parameters."""
        wire.post(URL, json=GRANT)
        settings = config(
            scope=["a", "b"],
            additional_params={"audience": "x y", "resource": ["https://1", "https://2"]},
        )
        token = GenericOAuth2Provider(settings).acquire_token()
        assert (token.access_token, token.scope) == ("abc", "a b")
        (call,) = wire.calls
        assert sorted(form_of(call)) == [
            ("audience", "x y"),
            ("grant_type", "client_credentials"),
            ("resource", "https://1"),
            ("resource", "https://2"),
            ("scope", "a b"),
        ]
        assert call.request.headers["Accept"] == "application/json"
        assert call.request.headers["Content-Type"] == "application/x-www-form-urlencoded"
        basic = call.request.headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(basic) == b"me:p%20%25%2B%2F"

    def test_no_scope(self, wire):
        """Without a scope none is sent, and the token has only what the server granted."""
        wire.post(URL, json=GRANT)
        assert GenericOAuth2Provider(config()).acquire_token().scope is None
        assert form_of(wire.calls[0]) == [("grant_type", "client_credentials")]

    def test_client_secret_post(self, wire):
        """On request the secret is sent in the body."""
        wire.post(URL, json=GRANT)
        provider = GenericOAuth2Provider(config(), token_endpoint_auth_method="client_secret_post")
        provider.acquire_token()
        (call,) = wire.calls
        assert "Authorization" not in call.request.headers
        assert ("client_id", "me") in form_of(call)
        assert ("client_secret", "p %+/") in form_of(call)

    def test_raw_basic(self, wire):
        """On request the parts of HTTP Basic are sent unencoded."""
        wire.post(URL, json=GRANT)
        GenericOAuth2Provider(config(), form_encode_credentials=False).acquire_token()
        basic = wire.calls[0].request.headers["Authorization"].removeprefix("Basic ")
        assert base64.b64decode(basic) == b"me:p %+/"

    def test_granted_scope(self, wire):
        """The token has the granted scope, not the requested one."""
        wire.post(URL, json=GRANT | {"scope": "a"})
        assert GenericOAuth2Provider(config(scope="a b")).acquire_token().scope == "a"

    def test_default_lifetime(self, wire):
        """Without a lifetime in the response, the configured one applies."""
        wire.post(URL, json={"access_token": "abc", "token_type": "Bearer"})
        provider = GenericOAuth2Provider(config(), default_lifetime_seconds=60)
        assert provider.acquire_token().remaining_lifetime <= timedelta(seconds=60)

    def test_a_secret_that_is_echoed(self, wire):
        """The secret is hidden everywhere, even if the server echoes it in every encoding."""
        basic = base64.b64encode(b"me:p%20%25%2B%2F").decode()
        echo = f"p %+/ p%20%25%2B%2F p+%25%2B%2F {basic}"
        wire.post(URL, json={"error": "invalid_client", "error_description": echo}, status=401)
        with pytest.raises(TokenAcquisitionError) as caught:
            GenericOAuth2Provider(config()).acquire_token()
        assert caught.value.error_description == "[hidden] [hidden] [hidden] [hidden]"
        for form in ("p %+/", "p%20", "p+%25", basic):
            assert form not in str(caught.value)

    @pytest.mark.parametrize(
        ("name", "shows"),
        [
            ("password", False),
            ("api_key", False),
            ("subject_token", False),
            ("resource", True),
            ("subject_token_type", True),
        ],
    )
    def test_a_parameter_that_is_echoed(self, wire, name, shows):
        """Additional parameters that are secrets by name are hidden; others are shown."""
        echo = {"error": "invalid_request", "error_description": "not so: abc-123"}
        wire.post(URL, json=echo, status=400)
        for value in ("abc-123", ["abc-123"]):
            with pytest.raises(TokenAcquisitionError) as caught:
                GenericOAuth2Provider(config(additional_params={name: value})).acquire_token()
            assert ("abc-123" in str(caught.value)) is shows


class TestOptions:
    """Construction and repr."""

    def test_refuses_what_is_no_config(self):
        """Something other than a configuration is refused."""
        with pytest.raises(InvalidConfigurationError, match="OAuth2Config"):
            GenericOAuth2Provider({"provider_name": "api"})

    @pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), None, "60", True])
    def test_a_default_lifetime_that_can_not_work(self, value):
        """An invalid default lifetime is refused."""
        with pytest.raises(InvalidConfigurationError, match="'api': default_lifetime_seconds"):
            GenericOAuth2Provider(config(), default_lifetime_seconds=value)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("connect_timeout", 0),
            ("read_timeout", -1),
            ("total_timeout", "60"),
            ("verify", ""),
            ("token_endpoint_auth_method", "private_key_jwt"),
        ],
    )
    def test_an_option_that_can_not_work(self, option, value):
        """The error names the provider, in the message and as an attribute."""
        with pytest.raises(InvalidConfigurationError, match=f"'api': .*{option}") as caught:
            GenericOAuth2Provider(config(), **{option: value})
        assert (caught.value.provider_name, caught.value.field) == ("api", option)

    def test_repr_shows_no_secret(self):
        """The repr shows the endpoint, and no secret."""
        assert repr(GenericOAuth2Provider(config())) == f"<GenericOAuth2Provider 'api' at {URL}>"

    def test_a_callers_session(self, wire):
        """A caller's session is used."""
        wire.post(URL, json=GRANT)
        with requests.Session() as session:
            session.headers["X-Mine"] = "yes"
            GenericOAuth2Provider(config(), session=session).acquire_token()
        assert wire.calls[0].request.headers["X-Mine"] == "yes"


class TestOverLoopback:
    """From the public call to a real server and back."""

    @pytest.fixture
    def server(self):
        with LoopbackAuthorizationServer() as server:
            yield server

    @pytest.fixture
    def keeper(self, server):
        with TokenKeeper() as keeper:
            keeper.add_provider(GenericOAuth2Provider(server.config("api")))
            yield keeper

    def test_the_api_takes_the_token(self, server, keeper):
        """The protected API accepts the token; a revoked one is replaced once."""
        token = keeper.get_token("api")
        url = server.api_url
        first = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert first.status_code == 200
        server.revoke(token)
        second = requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=10)
        assert second.status_code == 401
        renewed = keeper.renew_refused("api", token)
        third = requests.get(url, headers={"Authorization": f"Bearer {renewed}"}, timeout=10)
        assert third.status_code == 200

    def test_a_wrong_secret(self, server):
        """A wrong secret causes one request, however often a token is requested."""
        right = server.config("api")
        wrong = OAuth2Config("api", right.client_id, "wrong", right.token_url)
        with TokenKeeper() as keeper:
            keeper.add_provider(GenericOAuth2Provider(wrong))
            for _ in range(100):
                with pytest.raises(TokenAcquisitionError, match="Check client_id"):
                    keeper.get_token("api")
        assert server.stats().token_requests == 1


def test_errors_that_travel_hold_no_secret(wire):
    """Neither a pickled error nor its traceback shows a secret or token."""
    body = GRANT | {"error": "invalid_client", "error_description": "p %+/ abc"}
    wire.post(URL, body=json.dumps(body), status=401)
    with pytest.raises(TokenAcquisitionError) as caught:
        GenericOAuth2Provider(config()).acquire_token()
    pickled = pickle.dumps(caught.value)
    assert b"p %+/" not in pickled
    assert b"abc" not in pickled
    shown = "".join(traceback.format_exception(caught.value))
    assert "p %+/" not in shown
    assert "abc" not in shown
