"""Client authentication by assertions at Authlib's server, in its three settings for ``aud``."""

import pytest
from kit.servers.authlib_on_flask import AuthlibOnFlask

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.oauth.client_assertions import PrivateKeyJwt
from tokenkeeper.oauth.signing import SigningKey

SETTINGS = [("issuer",), ("token_endpoint",), ("issuer", "token_endpoint")]
OTHER = "https://other.example.com"


@pytest.fixture(scope="module", params=SETTINGS, ids="+".join)
def server(request):
    """Return a server that accepts some audiences."""
    with AuthlibOnFlask(audiences=request.param) as server:
        server.audiences = {
            {"issuer": server.issuer, "token_endpoint": server.token_endpoint}[each]
            for each in request.param
        }
        yield server


@pytest.fixture
def make(server, make_provider):
    """Return a function that makes a provider for a client with a key."""

    def provider(auth, key):
        method = {"token_endpoint_auth_method": "private_key_jwt"}
        server.add_client("signer", **method, jwks={"keys": [key.public_jwk()]})
        return make_provider("api", "signer", config={"client_secret": None}, client_auth=auth)

    return provider


@pytest.mark.parametrize("audience", ["issuer", "token endpoint", "both", "both and another"])
def test_audiences(server, make, make_keeper, audience):
    """The server accepts an audience that it knows, alone or in a list; another is refused."""
    issuer, endpoint = server.issuer, server.token_endpoint
    sent = {
        "issuer": [issuer],
        "token endpoint": [endpoint],
        "both": [issuer, endpoint],
        "both and another": [OTHER, issuer, endpoint],
    }[audience]
    key = SigningKey.generate()
    auth = PrivateKeyJwt(key, audience=sent)
    keeper = make_keeper(make(auth, key))
    if server.audiences & set(sent):
        assert server.call(keeper.get_token("api"))[0] == 200
        return
    with pytest.raises(TokenAcquisitionError, match="invalid_client") as caught:
        keeper.get_token("api")
    assert "set audience to the server's issuer or to its token endpoint" in str(caught.value)
    assert caught.value.attempts == 1


@pytest.mark.parametrize("alg", ["RS256", "ES256"])
def test_attempts(server, make, make_keeper, alg):
    """Each of several requests has a jti that the server has not seen."""
    key = SigningKey.generate(alg)
    auth = PrivateKeyJwt(key, audience=sorted(server.audiences))
    keeper = make_keeper(make(auth, key))
    for _ in range(5):
        assert server.call(keeper.get_token("api", force_refresh=True))[0] == 200


def test_a_wrong_key(server, make, make_keeper):
    """A signature of another key is refused after one request, with advice."""
    auth = PrivateKeyJwt(SigningKey.generate(), audience=sorted(server.audiences))
    keeper = make_keeper(make(auth, SigningKey.generate()), cooldown_seconds=600)
    before = server.stats("signer")["token_requests"]
    for _ in range(3):
        with pytest.raises(TokenAcquisitionError, match="invalid_client") as caught:
            keeper.get_token("api")
    assert "has the public key of this client, and accepts ES256." in str(caught.value)
    assert server.stats("signer")["token_requests"] == before + 1


@pytest.mark.parametrize("alg", ["RS512", "PS256", "ES384", "ES512"])
def test_algorithms_that_authlib_does_not_accept(server, make, make_keeper, alg):
    """Authlib accepts what joserfc recommends; the error names the algorithm that was sent."""
    key = SigningKey.generate(alg)
    keeper = make_keeper(make(PrivateKeyJwt(key, audience=sorted(server.audiences)), key))
    with pytest.raises(TokenAcquisitionError, match=f"accepts {alg}") as caught:
        keeper.get_token("api")
    assert caught.value.error == "invalid_client"
