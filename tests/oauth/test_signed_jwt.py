"""SignedJwt: the claims of each JWT (RFC 7523 §3)."""

import math

import pytest
from kit.servers.exchange import HmacKey, claims_in

from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.signed_jwt import SignedJwt
from tokenkeeper.testing import SteppedClock


def signed(**options):
    return SignedJwt(HmacKey(), **{"issuer": "me", "audience": "https://as.test", **options})


def test_claims():
    """A JWT has what RFC 7523 §3 requires, and the claims that were added."""
    clock = SteppedClock()
    claims = claims_in(signed(claims={"scope": "a b"}, clock=clock)())
    now = int(clock.time())
    assert claims.pop("jti")
    assert claims == {
        "iss": "me",
        "sub": "me",
        "aud": "https://as.test",
        "iat": now,
        "exp": now + 300,
        "scope": "a b",
    }


def test_each_is_new():
    """No two have the same id."""
    make = signed()
    assert claims_in(make())["jti"] != claims_in(make())["jti"]


def test_several_audiences():
    """Several audiences are a list, in their order."""
    assert claims_in(signed(audience=["b", "a"])())["aud"] == ["b", "a"]


def test_an_audience_that_is_not_known():
    """Without an audience, only a request can say whom the JWT is for."""
    with pytest.raises(TokenAcquisitionError, match="audience") as caught:
        signed(audience=None)()
    assert not caught.value.transient
    assert claims_in(signed(audience=None).addressed_to("x"))["aud"] == "x"
    assert claims_in(signed().addressed_to("x"))["aud"] == "https://as.test"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"issuer": ""}, "issuer"),
        ({"subject": 1}, "subject"),
        ({"audience": 1}, "audience"),
        ({"lifetime_seconds": 0}, "lifetime_seconds"),
        ({"claims": "x"}, "claims"),
        ({"claims": {"iss": "x"}}, "claims"),
        ({"claims": {"jti": "x"}}, "claims"),
        ({"claims": {"x": b"bytes"}}, "claims"),
        ({"claims": {"x": math.nan}}, "claims"),
        ({"key": "PEM"}, "key"),
    ],
)
def test_options_that_cannot_work(options, field):
    """Wrong options are refused when it is made, by name."""
    with pytest.raises(InvalidConfigurationError) as caught:
        SignedJwt(**{"key": HmacKey(), "issuer": "me", **options})
    assert caught.value.field == field


def test_claims_are_copied():
    """Later changes of the mapping change no JWT."""
    claims = {"scope": ["a"]}
    make = signed(claims=claims)
    claims["scope"].append("b")
    assert claims_in(make())["scope"] == ["a"]


def test_what_it_shows():
    """It names the issuer, and tells the claims that stay."""
    make = signed(claims={"scope": "a"}, lifetime_seconds=math.pi)
    assert repr(make) == "<SignedJwt of 'me'>"
    assert make.identity() == {"iss": "me", "sub": "me", "aud": ["https://as.test"], "scope": "a"}
