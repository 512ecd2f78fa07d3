"""JWT bearer and the password grant at Authlib's server."""

import pytest

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.oauth.signed_jwt import SignedJwt
from tokenkeeper.oauth.signing import SigningKey
from tokenkeeper.providers.grants.jwt_bearer import JwtBearer
from tokenkeeper.providers.grants.password import Password


@pytest.fixture(scope="module")
def key():
    """Return the key that the client "robot" signs with."""
    return SigningKey.generate("ES256")


@pytest.fixture
def robot(server, key):
    """Register the client "robot", which may present assertions."""
    server.add_client("robot", grant_types=[JwtBearer.grant_type], public_key=key.public_jwk())
    return "robot"


def signed(key, **options):
    return SignedJwt(key, **{"issuer": "robot", "subject": "alice", **options})


@pytest.mark.parametrize("audience", ["", "/oauth/token"])
def test_an_assertion(server, key, robot, make_keeper, make_provider, audience):
    """A JWT for the server or for its token endpoint is accepted, again for each renewal."""
    assertion = signed(key, audience=server.issuer + audience)
    keeper = make_keeper(make_provider("api", robot, grant=JwtBearer(assertion)))
    first = keeper.get_token("api")
    second = keeper.get_token("api", force_refresh=True)
    assert first != second
    status, content = server.call(second)
    assert (status, content["user"], content["client_id"]) == (200, "alice", "robot")
    assert content["grant_type"] == JwtBearer.grant_type


def test_the_audience_by_default(key, server, robot, make_keeper, make_provider):
    """Without an audience, the JWT is meant for the token endpoint that it is sent to."""
    keeper = make_keeper(make_provider("api", robot, grant=JwtBearer(signed(key))))
    assert server.call(keeper.get_token("api"))[0] == 200


WRONG = {
    "another audience": {"audience": "https://elsewhere.example.com"},
    "an unknown user": {"subject": "mallory"},
    "an unknown client": {"issuer": "nobody"},
}


@pytest.mark.parametrize("options", WRONG.values(), ids=WRONG)
def test_assertions_that_are_refused(server, key, robot, make_keeper, make_provider, options):
    """A wrong JWT is a final error after one request, which does not show it."""
    assertion = signed(key, **options)
    keeper = make_keeper(make_provider("api", robot, grant=JwtBearer(assertion)))
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api")
    assert not caught.value.transient
    assert "eyJ" not in str(caught.value)
    assert server.stats("robot")["token_requests"] == 1


def test_another_key(server, robot, make_keeper, make_provider):
    """A JWT by another key is refused."""
    other = SigningKey.generate("ES256")
    keeper = make_keeper(make_provider("api", robot, grant=JwtBearer(signed(other))))
    with pytest.raises(TokenAcquisitionError, match="invalid_grant"):
        keeper.get_token("api")


def test_the_password_grant(server, make_keeper, make_provider):
    """A user's password is accepted, and a wrong one is a final error that does not show it."""
    server.add_client("legacy", grant_types=["password"])
    good = make_provider("api", "legacy", grant=Password("alice", "alice-password"))
    bad = make_provider("bad", "legacy", grant=Password("alice", "wrong-horse"))
    keeper = make_keeper(good, bad)
    assert server.call(keeper.get_token("api"))[1]["user"] == "alice"
    with pytest.raises(TokenAcquisitionError, match="password is wrong") as caught:
        keeper.get_token("bad")
    assert not caught.value.transient
    assert "wrong-horse" not in str(caught.value)
