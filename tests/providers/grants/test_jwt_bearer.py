"""JwtBearer: what it sends (RFC 7523 §2.1), in the forms that vendors document."""

import pytest
from kit.servers.exchange import BEARER, HmacKey, claims_in, token_of

from tokenkeeper import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.signed_jwt import SignedJwt
from tokenkeeper.providers.grants.jwt_bearer import JwtBearer

GOOGLE = "https://oauth2.googleapis.com/token"


def test_an_assertion_of_a_function(service):
    """The assertion is sent with the grant's type, and read for each request."""
    tokens = iter([token_of("ann"), token_of("bob")])
    provider = service.provider("api", JwtBearer(lambda: next(tokens)))
    assert claims_in(provider.acquire_token().access_token)["sub"] == "ann"
    assert claims_in(provider.acquire_token().access_token)["sub"] == "bob"
    first = service.forms()[0]
    assert first == {"grant_type": [BEARER], "assertion": [token_of("ann")]}


def test_an_assertion_for_the_server_itself(service):
    """A signed JWT without an audience is meant for the token endpoint, and each has its own id."""
    provider = service.provider("api", JwtBearer(SignedJwt(HmacKey(), issuer="me", subject="ann")))
    provider.acquire_token()
    provider.acquire_token()
    first, second = (claims_in(form["assertion"][0]) for form in service.forms())
    assert (first["iss"], first["sub"]) == ("me", "ann")
    assert first["aud"] == f"{service.origin}/token"
    assert first["jti"] != second["jti"]


def test_salesforce(service):
    """Salesforce wants the user's name, its login host as audience, and three minutes at most."""
    assertion = SignedJwt(
        HmacKey(),
        issuer="consumer-key",
        subject="ann@acme.example",
        audience="https://login.salesforce.com",
        lifetime_seconds=180,
    )
    service.provider("api", JwtBearer(assertion), config={"scope": "api"}).acquire_token()
    (form,) = service.forms()
    claims = claims_in(form["assertion"][0])
    assert claims["exp"] - claims["iat"] == 180
    assert claims["aud"] == "https://login.salesforce.com"
    assert claims["sub"] == "ann@acme.example"


def test_google(service):
    """Google wants the scope in the JWT, and its token endpoint as audience, whatever is asked."""
    assertion = SignedJwt(
        HmacKey(),
        issuer="robot@project.iam.gserviceaccount.com",
        audience=GOOGLE,
        claims={"scope": "https://www.googleapis.com/auth/cloud-platform"},
        lifetime_seconds=3600,
    )
    service.provider("api", JwtBearer(assertion)).acquire_token()
    (form,) = service.forms()
    claims = claims_in(form["assertion"][0])
    assert claims["aud"] == GOOGLE
    assert claims["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert "scope" not in form


def test_an_assertion_that_is_refused(service):
    """A refused assertion is a final error with advice, and is not shown."""
    service.revoked.add("ann")
    provider = service.provider("api", JwtBearer(lambda: token_of("ann")))
    with pytest.raises(TokenAcquisitionError, match="assertion") as caught:
        provider.acquire_token()
    assert not caught.value.transient
    assert token_of("ann") not in str(caught.value)


def test_identity(tmp_path):
    """Grants for the assertions of others differ."""
    first, second = (SignedJwt(HmacKey(), issuer=issuer) for issuer in ("one", "two"))
    grants = [JwtBearer(each) for each in (first, second, tmp_path / "file")]
    assert len({repr(grant.identity()) for grant in grants}) == 3


@pytest.mark.parametrize("assertion", ["eyJ", None, 3])
def test_an_assertion_that_would_expire(assertion):
    """A text is refused: an assertion is used once, or for minutes."""
    with pytest.raises(InvalidConfigurationError) as caught:
        JwtBearer(assertion)
    assert caught.value.field == "assertion"
