"""Sign-ins at oidc-provider: a person in a browser, and what goes on without the person."""

import urllib.request

import pytest
from kit.guards import GUARD_SECONDS

from tokenkeeper import (
    DPoPKey,
    GenericOAuth2Provider,
    InvalidConfigurationError,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.oauth.jwt_claims import jwt_claims
from tokenkeeper.providers.grants.authorization_code import AuthorizationCode

REDIRECT_URI = "https://client.example.com/"
RESOURCES = ("urn:orders", "https://invoices.example.com/", "https://stock.example.com")
CONSENT = {"prompt": "consent"}  # without it, offline_access brings no refresh token


@pytest.fixture
def client_id(request):
    """Return a client of the test's own."""
    return request.node.name


@pytest.fixture
def register(oidc, client_id):
    """Return a function that registers the client, and returns a provider of it."""

    def register(*, redirect_uri=REDIRECT_URI, is_public=False, client=(), dpop=False, **options):
        more = {"token_endpoint_auth_method": "none"} if is_public else {}
        oidc.add_client(
            client_id,
            **more,
            **dict(client),
            grant_types=["authorization_code", "refresh_token"],
            redirect_uris=[redirect_uri or "http://127.0.0.1/callback"],
            application_type="native" if redirect_uri is None else "web",
            response_types=["code"],
            scope="openid offline_access read",
        )
        config = OAuth2Config(
            "api",
            client_id,
            None if is_public else oidc.clients[client_id],
            issuer=oidc.issuer,
            scope="openid offline_access read",
        )
        options.setdefault("authorize_parameters", CONSENT)
        grant = AuthorizationCode(redirect_uri=redirect_uri, **options)
        method = "none" if is_public else None
        return GenericOAuth2Provider(
            config, grant=grant, dpop=dpop, token_endpoint_auth_method=method
        )

    return register


@pytest.fixture
def keeper_of(tmp_path):
    """Return a function that returns a keeper with the store of a program that is restarted."""
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)

    def keeper_of(provider):
        keeper = TokenKeeper(store=f"sqlite:///{folder / 'store.db'}")
        keeper.add_provider(provider)
        return keeper

    return keeper_of


def renewed(keeper):
    return keeper.get_token("api", force_refresh=True, timeout=GUARD_SECONDS)


@pytest.mark.parametrize("par", [True, False, None], ids=["pushed", "not pushed", "as offered"])
def test_a_web_application(oidc, register, keeper_of, par):
    """Code, PKCE and iss; another process completes it, and a restart needs no person."""
    provider = register(par=par)
    with keeper_of(provider) as one, keeper_of(register(par=par)) as other:
        authorization = one.authorize("api", login_hint="ada")
        assert ("request_uri" in authorization.url) is (par is not False)
        answer = oidc.browse(authorization.url, REDIRECT_URI)
        assert "iss=" in answer
        source = other.complete_authorization("api", answer, state=authorization.state)
        assert oidc.call(source())[0] == 200
        assert source() == one.get_token("api")
        with pytest.raises(TokenAcquisitionError, match="completed already"):
            authorization.complete(answer)
    with keeper_of(register(par=par)) as restarted:
        tokens = {restarted.get_token("api"), renewed(restarted), renewed(restarted)}
        assert len(tokens) == 3
        assert oidc.call(renewed(restarted))[0] == 200
    assert oidc.stats(provider.client_id)["families_revoked"] == 0


def test_on_this_machine(oidc, register, keeper_of):
    """A public client with a free port, and its tokens bound to a key, also by refresh tokens."""
    provider = register(redirect_uri=None, is_public=True, dpop=DPoPKey())
    with keeper_of(provider) as keeper, keeper.authorize("api") as authorization:
        answer = oidc.browse(authorization.url, "/callback?")
        with urllib.request.urlopen(answer, timeout=GUARD_SECONDS) as page:
            assert b"You have signed in" in page.read()
        assert authorization.wait(GUARD_SECONDS).token_type == "DPoP"
        assert renewed(keeper) != renewed(keeper)


def test_three_resources(oidc, register, keeper_of):
    """One sign-in serves all three; another one is refused before any request."""
    with keeper_of(register()) as keeper:
        authorization = keeper.authorize("api", resource=RESOURCES)
        authorization.complete(oidc.browse(authorization.url, REDIRECT_URI))
        for resource in RESOURCES:
            token = keeper.source("api", resource=resource).get_token(timeout=GUARD_SECONDS)
            expected = None if resource == "urn:orders" else resource  # that one is opaque
            assert jwt_claims(token).get("aud") == expected
        with pytest.raises(InvalidConfigurationError, match="was not authorized"):
            keeper.source("api", resource=RESOURCES[1] + "/").get_token()
        assert keeper.source("api", resource=RESOURCES[2]).get_token(force_refresh=True)


def test_a_person_who_declines(oidc, register, keeper_of):
    """The server's own words, and the sign-in before goes on."""
    with keeper_of(register()) as keeper:
        first = keeper.authorize("api")
        first.complete(oidc.browse(first.url, REDIRECT_URI))
        second = keeper.authorize("api", login_hint="decliner")
        answer = oidc.browse(second.url, REDIRECT_URI)
        with pytest.raises(TokenAcquisitionError, match=r"access_denied .\"not today"):
            second.complete(answer)
        assert oidc.call(renewed(keeper))[0] == 200


def test_a_code_that_was_used(oidc, register, keeper_of):
    """The server refuses a code without its verifier, and says so after one request."""
    with keeper_of(register()) as keeper:
        first, second = keeper.authorize("api"), keeper.authorize("api")
        code = oidc.browse(first.url, REDIRECT_URI).partition("code=")[2].partition("&")[0]
        answer = f"{REDIRECT_URI}?code={code}&state={second.state}&iss={oidc.issuer}"
        with pytest.raises(TokenAcquisitionError, match="code has expired or was") as info:
            second.complete(answer)
        assert info.value.error == "invalid_grant"
