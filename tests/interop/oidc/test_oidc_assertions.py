"""Client authentication by assertions at oidc-provider, which checks every claim and each jti."""

import itertools
import json
import os
import traceback

import pytest
from kit.crowds import at_once
from kit.oauth_client import proof_of
from kit.signing_keys import ALGORITHMS, jwk_of, private_key

from tokenkeeper import TokenAcquisitionError
from tokenkeeper.oauth.client_assertions import ClientAssertion, ClientSecretJwt, PrivateKeyJwt
from tokenkeeper.oauth.client_proof import Recipient
from tokenkeeper.oauth.signing import SigningKey
from tokenkeeper.testing import SteppedClock

SECRET = "a-secret-that-nothing-shows-" * 3

numbers = itertools.count(1)


@pytest.fixture
def register(server):
    """Return a function that registers a client with public keys, and returns its id."""

    def add(*keys, **registration):
        client_id = f"signer-{next(numbers)}"
        given = {"token_endpoint_auth_method": "private_key_jwt", **registration}
        if keys:
            given["jwks"] = {"keys": [key.public_jwk() for key in keys]}
        server.add_client(client_id, SECRET, **given)
        return client_id

    return add


@pytest.fixture
def make(make_provider):
    """Return a function that makes a provider without a client secret."""

    def provider(client_id, auth):
        config = {"client_secret": None}
        return make_provider("api", client_id, config=config, client_auth=auth)

    return provider


def refused(keeper, auth):
    """Return the message of a refusal, which advises, and shows no part of an assertion."""
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api")
    error = caught.value
    assert (error.error, error.status_code, error.attempts) == ("invalid_client", 401, 1)
    assert not error.transient
    assert auth.refusal_advice("") in str(error)
    shown = "".join(traceback.format_exception(error))
    assert "eyJ" not in shown
    assert SECRET not in shown
    return str(error)


@pytest.mark.parametrize(("kind", "alg"), ALGORITHMS)
def test_every_algorithm_of_a_key(server, register, make, make_keeper, kind, alg):
    """The server verifies the signature of each algorithm, and grants a token for each jti."""
    key = SigningKey.of(private_key(kind), signing_alg=alg)
    client_id = register(key, token_endpoint_auth_signing_alg=alg)
    keeper = make_keeper(make(client_id, PrivateKeyJwt(key)))
    for _ in range(3):
        token = keeper.get_token("api", force_refresh=True)
        assert server.call(token)[1]["client_id"] == client_id
    assert server.stats(client_id)["token_requests"] == 3


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_every_algorithm_of_a_secret(server, register, make, make_keeper, alg):
    """The server verifies the signature with its copy of the secret."""
    method = {"token_endpoint_auth_method": "client_secret_jwt"}
    client_id = register(**method, token_endpoint_auth_signing_alg=alg)
    keeper = make_keeper(make(client_id, ClientSecretJwt(SECRET, signing_alg=alg)))
    assert server.call(keeper.get_token("api"))[0] == 200


@pytest.mark.parametrize("number", [0, 1])
def test_one_of_several_keys(server, register, make, make_keeper, number):
    """The kid says which of the client's keys signed."""
    keys = [SigningKey.of(private_key("RSA", each), key_id=f"k{each}") for each in range(2)]
    keeper = make_keeper(make(register(*keys), PrivateKeyJwt(keys[number])))
    assert server.call(keeper.get_token("api"))[0] == 200


def test_a_jwk_that_says_all(server, register, make, make_keeper):
    """A JWK with an alg and a kid needs no other option."""
    jwk = jwk_of(private_key("RSA"), alg="PS384", kid="k1")
    client_id = register(SigningKey.of(jwk), token_endpoint_auth_signing_alg="PS384")
    keeper = make_keeper(make(client_id, PrivateKeyJwt(jwk)))
    assert server.call(keeper.get_token("api"))[0] == 200


@pytest.mark.parametrize("which", ["issuer", "token endpoint", "both", "default"])
def test_audiences(server, register, make, make_keeper, which):
    """The server accepts its issuer, its token endpoint, and a list that has one of them."""
    key = SigningKey.generate()
    audience = {
        "issuer": server.issuer,
        "token endpoint": server.token_endpoint,
        "both": ["https://other.example.com", server.issuer],
        "default": None,
    }[which]
    keeper = make_keeper(make(register(key), PrivateKeyJwt(key, audience=audience)))
    assert server.call(keeper.get_token("api"))[0] == 200


ES256 = {"token_endpoint_auth_signing_alg": "ES256"}


@pytest.mark.parametrize(
    ("registration", "auth"),
    [
        (ES256, lambda key: PrivateKeyJwt(SigningKey.generate())),
        (ES256, lambda key: PrivateKeyJwt(private_key("RSA"))),
        (ES256, lambda key: PrivateKeyJwt(key, audience="https://other.example.com")),
        (ES256, lambda key: PrivateKeyJwt(key, clock=SteppedClock(wall=1_700_000_000))),
        (ES256, lambda key: ClientSecretJwt(SECRET)),
        ({"token_endpoint_auth_method": "client_secret_basic"}, PrivateKeyJwt),
        (
            {"token_endpoint_auth_method": "client_secret_jwt"},
            lambda key: ClientSecretJwt(f"{SECRET}?"),
        ),
    ],
    ids=["key", "algorithm", "audience", "clock", "secret for key", "method", "secret"],
)
def test_what_is_refused(server, register, make, make_keeper, registration, auth):
    """A refusal without a reason takes one request, and says what to check."""
    key = SigningKey.generate()
    client_id = register(key, **registration)
    client_auth = auth(key)
    refused(make_keeper(make(client_id, client_auth), cooldown_seconds=600), client_auth)
    assert server.stats(client_id)["token_requests"] == 1


def test_an_assertion_that_is_used_twice(server, register, make, make_keeper):
    """An assertion from elsewhere is accepted once; the refusal of the second use says so."""
    key = SigningKey.generate()
    client_id = register(key)
    to = Recipient(server.token_endpoint, server.token_endpoint)
    fixed = PrivateKeyJwt(key).prove(client_id, to).parameters["client_assertion"]
    auth = ClientAssertion(lambda: fixed)
    assert server.call(make_keeper(make(client_id, auth)).get_token("api"))[0] == 200
    message = refused(make_keeper(make(client_id, auth)), auth)
    assert "only once, the source must return a new one for each request" in message


def test_an_assertion_in_a_file(server, register, make, make_keeper, tmp_path):
    """A token that another program replaces in a file is read for each request."""
    key, file = SigningKey.generate(), tmp_path / "token"
    client_id = register(key)
    signer = PrivateKeyJwt(key)
    keeper = make_keeper(make(client_id, ClientAssertion(file)))
    for _ in range(3):
        proof = proof_of(signer, client_id, issuer=server.issuer)
        file.write_text(proof.parameters["client_assertion"])
        assert server.call(keeper.get_token("api", force_refresh=True))[0] == 200


def test_a_key_file_that_is_replaced_under_load(server, register, make, make_keeper, tmp_path):
    """Eight threads get tokens without a failure while the key is replaced again and again."""
    keys = [SigningKey.of(private_key("P-256", n), key_id=f"k{n}") for n in range(2)]
    client_id = register(*keys)
    file = tmp_path / "key.json"
    jwks = [jwk_of(private_key("P-256", n), kid=f"k{n}") for n in range(2)]

    def write(number):
        next_file = tmp_path / "key.json.new"
        next_file.write_text(json.dumps(jwks[number % 2]))
        os.replace(next_file, file)

    write(0)
    auth = PrivateKeyJwt(private_key_file=file)
    keepers = [make_keeper(make(client_id, auth)) for _ in range(8)]

    def renew(keeper):
        return [keeper.get_token("api", force_refresh=True) for _ in range(10)]

    def rotate():
        for number in range(200):
            write(number)

    results = at_once(rotate, *[lambda keeper=keeper: renew(keeper) for keeper in keepers])
    assert [len(tokens) for tokens in results[1:]] == [10] * 8
    assert server.stats(client_id)["token_requests"] == 80
    assert server.stats(client_id)["grants"] == 80
