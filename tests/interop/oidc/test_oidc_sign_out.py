"""Revocation and introspection at oidc-provider, with answers in JSON and as signed JWTs."""

import itertools
import time

import pytest
from kit.guards import GUARD_SECONDS
from kit.processes import Child

from tokenkeeper import (
    AuthorizationRequiredError,
    GenericOAuth2Provider,
    OAuth2Config,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.oauth.introspection_jwt import verified
from tokenkeeper.providers.grants.refresh_token import RefreshToken

RESOURCES = ("urn:orders", "https://invoices.example.com/")
numbers = itertools.count(1)


@pytest.fixture
def client_id():
    """Return a client id that no other test uses."""
    return f"sign-out-{next(numbers)}"


@pytest.fixture
def make(oidc, tmp_path):
    """Return a function that returns a keeper, with the store that all of a test share."""
    keepers = []

    def make(client_id, grant=None, *, scope=None, **server):
        server = server or {"issuer": oidc.issuer}
        config = OAuth2Config("api", client_id, "a-secret", scope=scope, **server)
        folder = tmp_path / "private"
        folder.mkdir(mode=0o700, exist_ok=True)
        keeper = TokenKeeper(store=f"sqlite:///{folder / 'store.db'}")
        keeper.add_provider(GenericOAuth2Provider(config, grant=grant))
        keepers.append(keeper)
        return keeper

    yield make
    for keeper in keepers:
        keeper.close()


@pytest.fixture
def sign_in(oidc, client_id, make):
    """Return a function that signs in, and returns one that adds a process."""

    def sign_in(**fields):
        oidc.add_client(
            client_id,
            "a-secret",
            grant_types=["authorization_code", "refresh_token"],
            redirect_uris=["https://client.example.com/"],
            response_types=["code"],
            scope="openid offline_access read",
            **fields,
        )
        first = oidc.sign_in(client_id, resources=RESOURCES)
        return lambda: make(client_id, RefreshToken(first, resources=RESOURCES))

    return sign_in


@pytest.fixture
def signed_in(sign_in):
    """Return a function that adds a process of one sign-in."""
    return sign_in()


def spend(oidc, client_id, refresh_token):
    """Use a refresh token as a thief would, and return the error."""
    config = OAuth2Config("api", client_id, "a-secret", oidc.token_endpoint)
    with TokenKeeper() as thief:
        thief.add_provider(GenericOAuth2Provider(config, grant=RefreshToken(refresh_token)))
        with pytest.raises(AuthorizationRequiredError) as caught:
            thief.get_token("api")
    return caught.value.error


def test_a_grant(oidc, client_id, signed_in):
    """A sign-out ends the grant at the server and in every process, and takes its tokens along."""
    mine, other = signed_in(), signed_in()
    token = mine.get_token("api")
    orders = mine.source("api", resource=RESOURCES[0])
    assert oidc.call(orders())[0] == 200
    assert other.get_token("api") == token
    requests = oidc.stats(client_id)["token_requests"]
    newest = mine.get_oauth2_token("api").refresh_token
    found = mine.revoke("api")
    assert (found.token, found.server_was_asked, found.forgotten) == ("refresh_token", True, 2)
    assert oidc.call(token)[0] == 401
    for keeper in (mine, other):
        with pytest.raises(AuthorizationRequiredError, match="was revoked by"):
            keeper.source("api", resource=RESOURCES[1])()
    with pytest.raises(AuthorizationRequiredError):
        other.renew_refused("api", token)
    assert oidc.stats(client_id)["token_requests"] == requests
    assert newest is None or spend(oidc, client_id, newest) == "invalid_grant"
    assert not mine.revoke("api").server_was_asked


def test_a_fleet_at_work(oidc, client_id, sign_in):
    """Processes that renew all the time end with the sign-out, and spend no refresh token twice."""
    signed_in = sign_in(lifetime_seconds=3)

    def job():
        keeper, seen = signed_in(), set()
        try:
            while True:
                seen.add(keeper.get_token("api", timeout=GUARD_SECONDS))
                time.sleep(0.02)
        except AuthorizationRequiredError as error:
            return str(error), sorted(seen)

    children = [Child(job) for _ in range(3)]
    mine, seen = signed_in(), set()
    while len(seen) < 3:
        seen.add(mine.get_token("api", timeout=GUARD_SECONDS))
        time.sleep(0.02)
    found = mine.revoke("api")
    assert found.server_was_asked
    for child in children:
        message, others = child.result()
        assert "was revoked by" in message
        seen.update(others)
    stats = oidc.stats(client_id)
    assert stats["families_revoked"] == 1
    assert stats["grants"] == stats["token_requests"] >= len(seen)


def test_an_access_token_takes_the_grant_along(oidc, client_id, signed_in):
    """The server ends the grant with an access token, and the next renewal says so."""
    mine = signed_in()
    mine.get_token("api")
    found = mine.revoke("api", token="access_token")
    assert "may have revoked the refresh token" in found.goes_with
    with pytest.raises(AuthorizationRequiredError, match="a new sign-in is needed"):
        mine.get_token("api")


def test_a_jwt(signed_in):
    """A JWT can't be revoked here, which is an error and loses nothing."""
    mine = signed_in()
    source = mine.source("api", resource=RESOURCES[1])
    token = source()
    with pytest.raises(TokenAcquisitionError) as caught:
        mine.revoke(source.name, token="access_token")
    assert caught.value.error == "unsupported_token_type"
    assert not caught.value.transient
    assert token not in str(caught.value)
    assert source() == token
    assert mine.get_token("api")


def test_client_credentials(oidc, client_id, make):
    """The API rejects the revoked token, and the next caller gets another."""
    oidc.add_client(client_id, "a-secret")
    mine = make(client_id, scope="read")
    token = mine.get_token("api")
    assert mine.revoke("api").token == "access_token"
    assert oidc.call(token)[0] == 401
    assert oidc.call(mine.get_token("api"))[0] == 200


@pytest.mark.parametrize("is_signed", [False, True], ids=["JSON", "signed"])
def test_introspection(oidc, client_id, make, is_signed, monkeypatch):
    """The server's answer in JSON, or signed and verified, says the same.

    Without its metadata, no signature could be verified, so none is asked for.
    """
    signed = []

    def noted(*arguments):
        signed.append(arguments[1].headers["content-type"])
        return verified(*arguments)

    monkeypatch.setattr("tokenkeeper.oauth.introspection_jwt.verified", noted)
    oidc.add_client(client_id, "a-secret")
    server = {"issuer": oidc.issuer}
    if not is_signed:
        paths = {"introspection": "/token/introspection", "revocation": "/token/revocation"}
        endpoints = {f"{name}_endpoint": oidc.issuer + path for name, path in paths.items()}
        server = {"token_url": oidc.token_endpoint, "endpoints": endpoints}
    mine = make(client_id, scope="read", **server)
    token = mine.get_token("api")
    found = mine.introspect("api")
    assert (found["active"], found["client_id"], found["scope"]) == (True, client_id, "read")
    assert found["iss"] == oidc.issuer
    assert token not in str(found)
    assert len(signed) == is_signed
    elsewhere = make(client_id, scope="read", **server)  # it takes the same token from the store
    elsewhere.revoke("api")
    assert mine.introspect("api") == {"active": False}


def test_a_signature_with_the_secret(oidc, client_id, make):
    """A server that signs with the client's secret is refused, since the client could have."""
    oidc.add_client(client_id, "a" * 40, introspection_signed_response_alg="HS256")
    config = OAuth2Config("api", client_id, "a" * 40, issuer=oidc.issuer)
    with TokenKeeper() as mine:
        mine.add_provider(GenericOAuth2Provider(config))
        with pytest.raises(TokenAcquisitionError, match="has the alg 'HS256'"):
            mine.introspect("api")
