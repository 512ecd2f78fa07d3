"""The errors and warnings of a provider: no secrets, advice, and narrowed scopes."""

import logging
import traceback

import pytest
import responses
from kit.oauth_client import oauth_client

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError, TokenKeeper
from tokenkeeper.oauth.token_request import request_token
from tokenkeeper.oauth.transport import HttpTransport

URL = "https://id.example.com/token"
GRANT = {"access_token": "abc", "token_type": "Bearer", "expires_in": 3600}
REFRESH_TOKEN = "1//refresh+t0ken/with=signs"


@pytest.fixture
def wire():
    """Respond to requests without a server."""
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def make_provider(secret="p", scope=None, **options):
    return GenericOAuth2Provider(OAuth2Config("api", "me", secret, URL, scope), **options)


def refused(provider):
    with pytest.raises(TokenAcquisitionError) as caught:
        provider.acquire_token()
    return caught.value


@pytest.mark.parametrize(
    "echo",
    [
        {"error": "invalid_grant", "error_description": f"no such token: {REFRESH_TOKEN}"},
        {"error": REFRESH_TOKEN},
        {"error": {"message": REFRESH_TOKEN}},
        {"error": "invalid_grant", "refresh_token": REFRESH_TOKEN, "hint": REFRESH_TOKEN},
    ],
)
def test_an_echoed_refresh_token(wire, echo):
    """An echoed refresh token is hidden."""
    wire.post(URL, json=echo, status=400)
    with pytest.raises(TokenAcquisitionError) as caught:
        request_token(
            oauth_client(OAuth2Config("api", "me", "p", URL), HttpTransport()),
            lambda _: {"grant_type": "refresh_token", "refresh_token": REFRESH_TOKEN},
            scope=None,
            requested_scope=None,
            warned=set(),
            omitted=set(),
            default_lifetime=60.0,
        )
    error = caught.value
    shown = "".join(traceback.format_exception(error)) + repr(vars(error))
    assert REFRESH_TOKEN not in shown
    assert "[hidden]" in shown
    assert error.__context__ is None


ENCODED = ["a+b", "a/b", "a=b", "a%b", "a b", "ä", "a:b", "a&b", "a~b!"]
BOTH_CURES = ("form_encode_credentials=False", 'token_endpoint_auth_method="client_secret_post"')


class TestEncoding:
    """Advice for a refused client whose secret is changed by form-encoding (RFC 6749 §2.3.1)."""

    @pytest.mark.parametrize("status", [400, 401])
    @pytest.mark.parametrize("secret", ENCODED)
    def test_both_cures_are_named(self, wire, secret, status):
        """The error names both options to try."""
        wire.post(URL, json={"error": "invalid_client"}, status=status)
        error = str(refused(make_provider(secret)))
        assert all(cure in error for cure in BOTH_CURES)
        assert secret not in error.replace("form_encode", "")

    def test_an_id_that_is_changed(self, wire):
        """An id that is changed counts too."""
        wire.post(URL, body="", status=401)
        provider = GenericOAuth2Provider(OAuth2Config("api", "a@b", "p", URL))
        assert all(cure in str(refused(provider)) for cure in BOTH_CURES)

    def test_where_it_is_off(self, wire):
        """If form-encoding is off, the advice is to turn it on."""
        wire.post(URL, body="", status=401)
        error = str(refused(make_provider("a+b", form_encode_credentials=False)))
        assert "form_encode_credentials=True" in error
        assert BOTH_CURES[1] in error

    @pytest.mark.parametrize(
        ("secret", "options", "status", "body"),
        [
            ("plain-secret_1.~", {}, 401, {"error": "invalid_client"}),
            ("a+b", {"token_endpoint_auth_method": "client_secret_post"}, 401, {}),
            ("a+b", {}, 400, {"error": "invalid_scope"}),
            ("a+b", {}, 503, {}),
        ],
    )
    def test_where_it_can_t_be_the_reason(self, wire, secret, options, status, body):
        """Encoding is not mentioned if it changes nothing or the client was not refused."""
        wire.post(URL, json=body, status=status)
        assert "form_encode_credentials" not in str(refused(make_provider(secret, **options)))


class TestNarrowedScope:
    """A server that grants less than the requested scope (RFC 6749 §3.3)."""

    @pytest.fixture
    def warnings(self, caplog):
        caplog.set_level(logging.WARNING)

        def texts():
            return [each.getMessage() for each in caplog.records if "scope" in each.getMessage()]

        return texts

    def test_one_warning_for_all_renewals(self, wire, warnings):
        """The missing part is logged once, and the token is used."""
        wire.post(URL, json=GRANT | {"scope": "read"})
        provider = make_provider(scope="read write admin")
        with TokenKeeper() as keeper:
            keeper.add_provider(provider)
            for _ in range(3):
                assert keeper.get_token("api", force_refresh=True) == "abc"
        (warning,) = warnings()
        assert "'api'" in warning
        assert "Missing: write admin." in warning

    def test_one_for_each_change(self, wire, warnings):
        """Another missing part is logged again."""
        provider = make_provider(scope="read write")
        for granted in ("read", "read", "write", "read"):
            wire.reset()
            wire.post(URL, json=GRANT | {"scope": granted})
            provider.acquire_token()
        assert len(warnings()) == 2

    def test_one_for_each_provider(self, wire, warnings):
        """Each provider logs its own warning."""
        wire.post(URL, json=GRANT | {"scope": "read"})
        for _ in range(2):
            make_provider(scope="read write").acquire_token()
        assert len(warnings()) == 2

    @pytest.mark.parametrize(
        ("asked", "granted"),
        [
            ("read write", "write read"),
            ("read", "read write"),
            ("read", None),
            ("read write", ["read", "write"]),
            (None, "read"),
            ("openid offline_access read", "read"),
            ("https://graph.example/.default", "https://graph.example/User.Read"),
        ],
    )
    def test_no_warning_where_nothing_is_missing(self, wire, warnings, asked, granted):
        """Another order, a wider scope, and scopes that servers never list cause no warning."""
        wire.post(URL, json=GRANT | ({} if granted is None else {"scope": granted}))
        make_provider(scope=asked).acquire_token()
        assert warnings() == []

    def test_no_secret_in_it(self, wire, warnings):
        """A secret in the scope is not logged."""
        wire.post(URL, json=GRANT | {"scope": "read"})
        make_provider("hunter2", scope="read hunter2").acquire_token()
        assert "hunter2" not in warnings()[0]
