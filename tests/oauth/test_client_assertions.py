"""Client authentication by assertions."""

import json
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from kit.frames import recorded_variables
from kit.oauth_client import TOKEN_URL, proof_of
from kit.signing_keys import ALGORITHMS, jwk_of, pem_of, private_key, verified

from tokenkeeper import GenericOAuth2Provider, OAuth2Config, TokenAcquisitionError, TokenKeeper
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.client_assertions import ClientAssertion, ClientSecretJwt, PrivateKeyJwt
from tokenkeeper.oauth.client_auth import refusal_advice
from tokenkeeper.oauth.signing import SigningKey
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.testing import SteppedClock

ISSUER = "https://as.test/tenant"
SECRET = "hunter2-" * 8
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
GRANTED = {"access_token": "abcd1234", "token_type": "Bearer", "expires_in": 3600}


def by_key(**options):
    return PrivateKeyJwt(private_key("P-256"), **options)


def by_secret(**options):
    return ClientSecretJwt(SECRET, **options)


SIGNED = {
    "private_key_jwt": (by_key, private_key("P-256"), "ES256"),
    "client_secret_jwt": (by_secret, SECRET.encode(), "HS256"),
}


def claims_of(method, proof):
    """Return the claims of the assertion in *proof*, after its signature has been verified."""
    _, key, alg = SIGNED[method]
    return verified(proof.parameters["client_assertion"], key, alg)[1]


@pytest.mark.parametrize("method", SIGNED)
def test_what_is_sent(method):
    """The assertion, its type and the identifier are parameters, without a header."""
    auth = SIGNED[method][0]()
    proof = proof_of(auth, "my id")
    assert auth.method == method
    assert proof.authorization is None
    assert proof.certificate is None
    assertion = proof.parameters["client_assertion"]
    assert proof.parameters == {
        "client_id": "my id",
        "client_assertion_type": JWT_BEARER,
        "client_assertion": assertion,
    }
    assert assertion in proof.secrets()


@pytest.mark.parametrize("method", SIGNED)
@pytest.mark.parametrize(("lifetime", "seconds"), [(None, 60), (300, 300), (0.5, 1)])
def test_claims(method, lifetime, seconds):
    """Issuer and subject are the client; times are whole seconds, none of them in the future."""
    clock = SteppedClock(wall=1_900_000_000.9)
    options = {} if lifetime is None else {"lifetime_seconds": lifetime}
    claims = claims_of(method, proof_of(SIGNED[method][0](clock=clock, **options), "my id ä"))
    jti = claims.pop("jti")
    assert len(jti) == 32  # 128 bits
    assert claims == {
        "iss": "my id ä",
        "sub": "my id ä",
        "aud": TOKEN_URL,
        "iat": 1_900_000_000,
        "exp": 1_900_000_000 + seconds,
    }


@pytest.mark.parametrize("method", SIGNED)
def test_claims_of_several_clients(method):
    """One object that serves several clients and servers states its own pair."""
    auth = SIGNED[method][0]()
    for client_id, issuer in [("a", None), ("a", ISSUER), ("b", ISSUER), ("a", None)]:
        claims = claims_of(method, proof_of(auth, client_id, issuer=issuer))
        assert (claims["sub"], claims["aud"]) == (client_id, issuer or TOKEN_URL)


@pytest.mark.parametrize("method", SIGNED)
@pytest.mark.parametrize(
    ("audience", "issuer", "aud"),
    [
        (None, None, TOKEN_URL),
        (None, ISSUER, ISSUER),
        (TOKEN_URL, ISSUER, TOKEN_URL),
        (["https://one.test"], ISSUER, "https://one.test"),
        ((ISSUER, TOKEN_URL), ISSUER, [ISSUER, TOKEN_URL]),
    ],
)
def test_audiences(method, audience, issuer, aud):
    """The audience is the issuer if it is known, else the token endpoint, or as it was set."""
    auth = SIGNED[method][0](audience=audience)
    assert claims_of(method, proof_of(auth, issuer=issuer))["aud"] == aud


@pytest.mark.parametrize("method", SIGNED)
def test_another_endpoint(method):
    """For a request to another endpoint the audience is still the server's, not its URL."""
    proof = proof_of(SIGNED[method][0](), url="https://as.test/revoke")
    assert claims_of(method, proof)["aud"] == TOKEN_URL


@pytest.mark.parametrize("method", SIGNED)
def test_a_new_jti_each_time(method):
    """No two assertions have the same jti, so a server that remembers them accepts each."""
    auth = SIGNED[method][0]()
    assert len({claims_of(method, proof_of(auth))["jti"] for _ in range(100)}) == 100


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_algorithms_of_a_secret(alg):
    """PyJWT verifies the signature with the secret, in UTF-8 (OpenID Connect Core §10.1)."""
    proof = proof_of(ClientSecretJwt("sécret" * 11, signing_alg=alg))
    verified(proof.parameters["client_assertion"], ("sécret" * 11).encode(), alg)


@pytest.mark.parametrize(("kind", "alg"), ALGORITHMS)
def test_algorithms_of_a_key(kind, alg):
    """The assertion is signed by the algorithm that was set, and names the key."""
    auth = PrivateKeyJwt(private_key(kind), signing_alg=alg, key_id="k1")
    token = proof_of(auth).parameters["client_assertion"]
    assert verified(token, private_key(kind), alg)[0] == {"alg": alg, "kid": "k1", "typ": "JWT"}


def test_keys_in_every_place(tmp_path):
    """A key may be PEM, encrypted, a JWK, in a file, or a SigningKey."""
    key, file = private_key("P-256"), tmp_path / "key.pem"
    file.write_bytes(pem_of(key, "pw"))
    for auth in (
        PrivateKeyJwt(pem_of(key)),
        PrivateKeyJwt(jwk_of(key)),
        PrivateKeyJwt(private_key_file=file, password="pw"),
        PrivateKeyJwt(SigningKey.of(key)),
    ):
        verified(proof_of(auth).parameters["client_assertion"], key, "ES256")


@pytest.mark.parametrize(
    ("make", "field", "says"),
    [
        (PrivateKeyJwt, "private_key", "or private_key_file is required"),
        (partial(by_key, signing_alg="RS256"), "signing_alg", "does not fit the key"),
        (partial(by_key, lifetime_seconds=0), "lifetime_seconds", "more than 0"),
        (partial(by_key, audience=()), "audience", "is an empty list. Leave it out"),
        (partial(by_key, audience=""), "audience", "is empty"),
        (partial(by_key, audience=5), "audience", "must be a string or a list"),
        (partial(by_secret, signing_alg="RS256"), "signing_alg", "must be 'HS256', 'HS384' or"),
        (partial(by_secret, audience=[1]), "audience", "must be a string, not int"),
        (partial(ClientSecretJwt, ""), "client_secret", "is empty"),
        (partial(ClientAssertion, "ey.a.b"), "client_assertion", "must be a callable"),
        (partial(ClientAssertion, str, send_client_id=1), "send_client_id", "True or False"),
        (partial(ClientAssertion, str, assertion_type=""), "assertion_type", "is empty"),
    ],
)
def test_what_can_not_work(make, field, says):
    """The error names the option."""
    with pytest.raises(InvalidConfigurationError) as caught:
        make()
    assert caught.value.field == field
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)


UNUSABLE = {
    "private_key_jwt": lambda: PrivateKeyJwt(
        pem_of(private_key("P-256")).decode(), password="hunter2"
    ),
    "client_secret_jwt": lambda: ClientSecretJwt("hunter2", signing_alg="RS256"),
}


@pytest.mark.parametrize("make", UNUSABLE.values(), ids=UNUSABLE)
def test_what_an_error_tracker_records(make):
    """The variables of frames that an error passed through show no key and no secret."""
    with pytest.raises(InvalidConfigurationError) as caught:
        make()
    assert caught.value.__context__ is None
    for written in recorded_variables(caught.value):
        assert "PRIVATE KEY" not in written
        assert "hunter2" not in written


@pytest.mark.parametrize("source", ["file", "callable"])
def test_the_assertion_of_another(tmp_path, source):
    """An assertion from elsewhere is read for each request, so that a new one is used at once."""
    file = tmp_path / "token"
    auth = ClientAssertion(file if source == "file" else file.read_text)
    for assertion in ("e.y.1", "e.y.2"):
        file.write_text(f"{assertion}\n")
        proof = proof_of(auth, "my id")
        assert proof.parameters == {
            "client_id": "my id",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": assertion,
        }
        assert list(proof.secrets()) == [assertion]


def test_options_of_an_assertion():
    """On request the identifier is left out, and the type is another one."""
    auth = ClientAssertion(lambda: "e.y.1", send_client_id=False, assertion_type="urn:saml")
    parameters = {"client_assertion_type": "urn:saml", "client_assertion": "e.y.1"}
    assert proof_of(auth).parameters == parameters


def test_a_source_that_fails(tmp_path):
    """An assertion that is not there yet is a transient error that names the file."""
    with pytest.raises(
        TokenAcquisitionError, match=r"client assertion: .*token can't be read"
    ) as e:
        proof_of(ClientAssertion(tmp_path / "token"))
    assert e.value.transient


def pickled(auth):
    return pickle.loads(pickle.dumps(auth))


@pytest.mark.parametrize("method", SIGNED)
def test_pickled(method):
    """What is pickled proves the same client in another process."""
    auth = pickled(SIGNED[method][0](audience=ISSUER, lifetime_seconds=5))
    claims = claims_of(method, proof_of(auth))
    assert (claims["aud"], claims["exp"] - claims["iat"]) == (ISSUER, 5)


def test_pickled_with_a_source():
    """An assertion from a file can be pickled as well."""
    assert repr(pickled(ClientAssertion(Path("/run/t")))) == "ClientAssertion(from /run/t)"


def test_reprs():
    """No repr shows a key, a secret or an assertion."""
    assert repr(by_key(key_id="k1")) == "PrivateKeyJwt(<SigningKey ES256 'k1'>)"
    assert repr(by_secret()) == "ClientSecretJwt(HS256)"
    assert repr(ClientAssertion(lambda: "e.y.1")) == "ClientAssertion(from a callable)"


@pytest.mark.parametrize(
    ("auth", "says"),
    [
        (by_key(), "has the public key of this client, and accepts ES256. If so, it may expect"),
        (by_key(key_id="k1"), "of this client with the kid 'k1', and accepts ES256. If so, it may"),
        (by_key(lifetime_seconds=5), "Compare the clocks, too: an assertion is valid for 5 s."),
        (by_secret(), "Check client_id and client_secret, and that the client is registered for"),
        (ClientAssertion(str), "trusts the issuer of the client assertion for this client_id"),
    ],
)
def test_advice_on_a_refusal(auth, says):
    """The advice is about the assertion, and replaces the one about secrets."""
    advice = refusal_advice(auth, "id", "Check the secret.")
    assert says in advice
    assert "Check the secret." not in advice


def config(server, **options):
    return OAuth2Config("api", "me", token_url=server.url, **options)


def assertions_in(server):
    """Return the assertions that a server received."""
    bodies = [request.partition(b"\r\n\r\n")[2].decode() for request in server.requests]
    forms = [parse_qs(body) for body in bodies]
    assert all(form["client_id"] == ["me"] for form in forms)
    return [form["client_assertion"][0] for form in forms]


def test_retries(make_server):
    """A provider needs no secret, and each attempt has a new assertion."""
    unavailable = make_server.reply(b"{}", status="503 Service Unavailable")
    server = make_server(unavailable, unavailable, make_server.reply(json.dumps(GRANTED).encode()))
    provider = GenericOAuth2Provider(config(server), client_auth=by_key())
    with TokenKeeper(retry=RetryPolicy(initial_wait_seconds=0)) as keeper:
        keeper.add_provider(provider)
        assert keeper.get_token("api") == "abcd1234"
    assertions = assertions_in(server)
    jtis = {verified(each, private_key("P-256"), "ES256")[1]["jti"] for each in assertions}
    assert len(jtis) == 3
    assert provider.describe()["token_endpoint_auth_method"] == "private_key_jwt"


def test_a_registration_with_an_issuer(make_server):
    """If the registration names the issuer, that is the audience, and not the token endpoint."""

    def answer(server, sock):
        request, issuer = server.read_request(sock), f"http://127.0.0.1:{server.port}"
        metadata = {"issuer": issuer, "token_endpoint": server.url}
        body = json.dumps(metadata if request.startswith(b"GET") else GRANTED).encode()
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server = make_server(answer, answer)
    issuer = f"http://127.0.0.1:{server.port}"
    config = OAuth2Config("api", "me", issuer=issuer)
    GenericOAuth2Provider(config, client_auth=by_key()).acquire_token()
    del server.requests[0]
    assert verified(*assertions_in(server), private_key("P-256"), "ES256")[1]["aud"] == issuer


@pytest.mark.parametrize("method", SIGNED)
def test_a_bare_refusal(make_server, method):
    """A refusal without a reason says what to check, and shows nothing that the server echoes."""
    auth = SIGNED[method][0]()
    secret = SECRET if method == "client_secret_jwt" else ""

    def echo(server, sock):
        form = server.read_request(sock).partition(b"\r\n\r\n")[2].decode()
        words = {"error": "invalid_client", "error_description": f"{form} {secret}"}
        body = json.dumps(words).encode()
        sock.sendall(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    server = make_server(echo)
    provider = GenericOAuth2Provider(config(server), client_auth=auth)
    with pytest.raises(TokenAcquisitionError, match="invalid_client") as caught:
        provider.acquire_token()
    message = str(caught.value)
    assert auth.refusal_advice("me") in message
    assert "Check client_id and client_secret. " not in message
    (assertion,) = assertions_in(server)
    assert not any(part in message for part in assertion.split("."))
    assert "hunter2" not in message


def test_an_error_before_the_request(make_server, tmp_path):
    """An assertion that is missing is an error that names the provider, and nothing is sent."""
    server = make_server()
    auth = ClientAssertion(tmp_path / "token")
    provider = GenericOAuth2Provider(config(server), client_auth=auth)
    with pytest.raises(
        TokenAcquisitionError, match=r"^provider 'api': the client assert"
    ) as caught:
        provider.acquire_token()
    assert caught.value.provider_name == "api"
    assert caught.value.transient
    assert not server.requests


def test_a_provider_in_another_process(make_server, tmp_path):
    """A provider with a key can be made again elsewhere: from its text, or from its file."""
    granted = json.dumps(GRANTED).encode()
    file = tmp_path / "key.pem"
    file.write_bytes(pem_of(private_key("P-256")))
    for auth in (by_key(), PrivateKeyJwt(private_key_file=file)):
        server = make_server(make_server.reply(granted))
        provider = GenericOAuth2Provider(config(server), client_auth=auth)
        twin = pickle.loads(pickle.dumps(provider.for_another_process()))()
        assert twin.acquire_token().access_token == "abcd1234"
        verified(*assertions_in(server), private_key("P-256"), "ES256")


def test_what_an_import_loads():
    """Neither PyJWT nor cryptography is loaded before there is a key."""
    modules = "client_assertions, signing, github_actions, azure_pipelines"
    code = f"from tokenkeeper.oauth import {modules}; import sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"jwt", "cryptography", "requests"} & set(run.stdout.split())


def test_a_secret_beside_a_key(make_server):
    """A client secret that is never sent is refused."""
    with pytest.raises(InvalidConfigurationError, match="client_auth can't be combined with"):
        GenericOAuth2Provider(config(make_server(), client_secret="s"), client_auth=by_key())
