"""Access tokens that are JWTs, as a resource server reads them."""

import math

import jwt
import pytest

from tokenkeeper import TokenKeeper
from tokenkeeper.testing import JWTAccessTokens, LoopbackAuthorizationServer, SteppedClock

SECRET = b"known to the resource server, too"


@pytest.fixture
def clock():
    """Return a clock between two whole seconds."""
    return SteppedClock(wall=1_900_000_000.25)


@pytest.fixture
def server(clock):
    """Return a server that grants JWTs."""
    with LoopbackAuthorizationServer(jwt=True, clock=clock, lifetime_seconds=60) as server:
        yield server


def read(token, server, clock, audience="loopback-api"):
    """Return the claims of a token, as a resource server does that has the metadata's keys."""
    key = jwt.PyJWKClient(server.jwks_url).get_signing_key_from_jwt(token)
    later = {"verify_exp": False, "verify_iat": False}  # by PyJWT's own clock
    claims = jwt.decode(
        token, key, ["RS256"], audience=audience, issuer=server.issuer, options=later
    )
    assert claims["iat"] <= clock.time() < claims["exp"]
    return claims


def test_the_claims(server, clock, ask):
    """A token has the type and the claims of RFC 9068, and verifies with the published key."""
    answer = ask(server, scope="read").json()
    token = answer["access_token"]
    assert jwt.get_unverified_header(token)["typ"] == "at+jwt"
    claims = read(token, server, clock)
    assert claims.pop("jti") != read(ask(server).json()["access_token"], server, clock)["jti"]
    assert claims == {
        "iss": server.issuer,
        "sub": server.client_id,
        "aud": "loopback-api",
        "exp": 1_900_000_061,
        "iat": 1_900_000_000,
        "client_id": server.client_id,
        "scope": "read",
    }


def test_the_metadata_names_the_keys(server, session):
    """The metadata document has the address of the keys, which are public ones."""
    metadata = f"{server.issuer}/.well-known/oauth-authorization-server"
    assert session.get(metadata, timeout=10).json()["jwks_uri"] == server.jwks_url
    (key,) = session.get(server.jwks_url, timeout=10).json()["keys"]
    assert (key["kty"], key["use"], key["alg"]) == ("RSA", "sig", "RS256")
    assert "d" not in key


def test_text_and_server_agree_on_the_expiry(server, clock, ask, session):
    """To the last tick before ``exp`` the API accepts a token, and introspection confirms it."""
    token = ask(server).json()["access_token"]
    expiry = read(token, server, clock)["exp"]
    clock.step(math.nextafter(expiry, 0) - clock.time())
    bearer = {"Authorization": f"Bearer {token}"}
    assert session.get(server.api_url, headers=bearer, timeout=10).ok
    auth = (server.client_id, server.client_secret.replace(" ", "%20"))
    form = {"token": token}
    answer = session.post(server.introspection_url, data=form, auth=auth, timeout=10).json()
    assert answer["active"]
    assert {**answer, **read(token, server, clock)} == answer
    clock.step(expiry - clock.time())
    assert "expired" in session.get(server.api_url, headers=bearer, timeout=10).text
    assert not server.is_alive(token)


def test_a_jwt_can_be_revoked(server, ask, session):
    """The API refuses a revoked token, and a token with another signature."""
    token = ask(server).json()["access_token"]
    assert server.is_alive(token)
    assert not server.is_alive(token[:-6] + "AAAAAA")
    server.revoke_all()
    assert not server.is_alive(token)
    bearer = {"Authorization": f"Bearer {token}"}
    assert "revoked" in session.get(server.api_url, headers=bearer, timeout=10).text


def test_the_audience_that_was_asked_for(server, clock, ask):
    """``resource`` (RFC 8707) and ``audience`` decide for whom a token is."""
    one = ask(server, resource="https://a.example").json()["access_token"]
    assert read(one, server, clock, "https://a.example")["aud"] == "https://a.example"
    two = ask(server, resource=["https://a.example", "https://b.example"], audience="c").json()
    aud = read(two["access_token"], server, clock, "c")["aud"]
    assert aud == ["https://a.example", "https://b.example", "c"]


def test_a_refreshed_token_has_the_audience_of_its_grant(server, clock, ask):
    """A refresh keeps the audience unless it asks for another."""
    server.refresh_tokens = True
    first = ask(server, audience="a").json()
    form = {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
    second = ask(server, **form).json()
    assert read(second["access_token"], server, clock, "a")["aud"] == "a"


def test_a_shared_secret(ask, session):
    """With a secret, tokens are signed by HS256, and no key is published."""
    options = JWTAccessTokens(audience=["rabbitmq"], secret=SECRET, claims={"tid": "t", "sub": "s"})
    scopes = ["rabbitmq.read:*/*"]
    with LoopbackAuthorizationServer(jwt=options, scopes=scopes) as server:
        token = ask(server).json()["access_token"]
        claims = jwt.decode(token, SECRET, ["HS256"], audience="rabbitmq", issuer=server.issuer)
        assert (claims["scope"], claims["aud"]) == ("rabbitmq.read:*/*", ["rabbitmq"])
        assert (claims["tid"], claims["sub"]) == ("t", "s")
        assert session.get(server.jwks_url, timeout=10).status_code == 404
    assert SECRET.decode() not in repr(options)


def test_a_secret_must_be_long_enough():
    """A secret that is shorter than the hash is refused (RFC 7518 §3.2)."""
    with pytest.raises(ValueError, match="32 bytes"):
        JWTAccessTokens(secret=b"short")


def test_opaque_tokens_by_default(ask, session):
    """Without the option, tokens are opaque, and there are no keys."""
    with LoopbackAuthorizationServer() as server:
        assert "." not in ask(server).json()["access_token"]
        assert session.get(server.jwks_url, timeout=10).status_code == 404
        metadata = f"{server.issuer}/.well-known/oauth-authorization-server"
        assert "jwks_uri" not in session.get(metadata, timeout=10).json()


def test_a_keeper_renews_before_the_expiry(server, clock):
    """A keeper never serves a token that a resource server would refuse as expired."""
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(server.provider("api"))
        for _ in range(200):
            assert read(keeper.get_token("api"), server, clock)["scope"] == "read write"
            clock.step(0.7)
    assert server.stats().token_requests > 2
