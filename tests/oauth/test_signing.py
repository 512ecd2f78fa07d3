"""Keys that sign JWTs: every algorithm and form of a key, and what can't be one."""

import copy
import itertools
import json
import pickle

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa, x25519
from kit.signing_keys import (
    ALGORITHMS,
    KINDS,
    jwk_of,
    pem_of,
    private_key,
    public_pem_of,
    verified,
)

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.jws import JwsSigner
from tokenkeeper.oauth.private_keys import read_key
from tokenkeeper.oauth.signing import SigningKey

CLAIMS = {"iss": "me", "exp": 1, "list": [1, "é"]}
PASSWORD = "hunter2-é"
FORMS = ("object", "pem", "text", "encrypted", "jwk", "jwk text")


def given(key, form):
    """Return the arguments of a key in one of the forms that it can be given in."""
    return {
        "object": {"private_key": key},
        "pem": {"private_key": pem_of(key)},
        "text": {"private_key": pem_of(key).decode()},
        "encrypted": {"private_key": pem_of(key, PASSWORD), "password": PASSWORD},
        "jwk": {"private_key": jwk_of(key)},
        "jwk text": {"private_key": json.dumps(jwk_of(key))},
    }[form]


def refused(*arguments, **options):
    """Return the field and the message of the error that making a key raises."""
    with pytest.raises(InvalidConfigurationError) as caught:
        SigningKey.of(*arguments, **options)
    assert caught.value.__context__ is None  # its frames would hold the key
    assert "\n" not in str(caught.value)
    return caught.value.field, str(caught.value)


@pytest.mark.parametrize(("kind", "alg"), ALGORITHMS)
def test_every_algorithm(kind, alg):
    """PyJWT verifies each signature with the public key."""
    key = SigningKey.of(private_key(kind), signing_alg=alg)
    header, claims = verified(key.sign(CLAIMS), private_key(kind), alg)
    assert header == {"alg": alg, "typ": "JWT"}
    assert claims == CLAIMS
    assert key.alg == alg


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_form(kind, form):
    """A key in any form signs with the first algorithm of its kind."""
    key = SigningKey.of(**given(private_key(kind), form))
    verified(key.sign(CLAIMS), private_key(kind), KINDS[kind][0])


@pytest.mark.parametrize("form", ["pem", "encrypted", "jwk text"])
@pytest.mark.parametrize("path_type", [str, lambda path: path])
def test_files(tmp_path, form, path_type):
    """A file may hold the key in every form of text; its path is a string or a Path."""
    arguments = given(private_key("P-256"), form)
    content = arguments.pop("private_key")
    file = tmp_path / "key"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    key = SigningKey.of(private_key_file=path_type(file), **arguments)
    verified(key.sign(CLAIMS), private_key("P-256"), "ES256")
    assert str(file) in repr(key)


@pytest.mark.parametrize(
    ("members", "options", "alg", "kid"),
    [
        ({"alg": "RS512"}, {}, "RS512", None),
        ({"alg": "PS256", "kid": "k1"}, {"signing_alg": "PS256"}, "PS256", "k1"),
        ({"kid": "k1"}, {"signing_alg": "RS384"}, "RS384", "k1"),
        ({"kid": "k1", "use": "sig"}, {"key_id": "k2"}, "RS256", "k2"),
    ],
)
def test_what_a_jwk_states(members, options, alg, kid):
    """The alg and the kid of a JWK are used; a kid that is given replaces it."""
    key = SigningKey.of(jwk_of(private_key("RSA"), **members), **options)
    header, _ = verified(key.sign(CLAIMS), private_key("RSA"), alg)
    assert header.get("kid") == key.key_id == kid


def test_a_jwk_without_primes():
    """An RSA key may leave out all that can be computed (RFC 7518 §6.3.2)."""
    jwk = {name: jwk_of(private_key("RSA"))[name] for name in ("kty", "n", "e", "d")}
    verified(SigningKey.of(jwk).sign(CLAIMS), private_key("RSA"), "RS256")


@pytest.mark.parametrize("headers", [{"typ": "dpop+jwt", "jwk": {"kty": "EC"}}, {"b": 1}, {}])
def test_further_headers(headers):
    """Headers of a call are added to those of the key, or replace them, for that call only."""
    key = SigningKey.of(private_key("P-256"), key_id="k1")
    own = {"alg": "ES256", "typ": "JWT", "kid": "k1"}
    for _ in range(2):
        header, _ = verified(key.sign(CLAIMS, headers=headers), private_key("P-256"), "ES256")
        assert header == own | headers
    assert verified(key.sign(CLAIMS), private_key("P-256"), "ES256")[0] == own


def test_headers_that_are_changed_in_place():
    """A mapping that the caller changes between two calls is read again."""
    key = SigningKey.of(private_key("P-256"))
    headers = {"jwk": {"x": 1}}
    key.sign(CLAIMS, headers=headers)
    headers["jwk"]["x"] = 2
    header, _ = verified(key.sign(CLAIMS, headers=headers), private_key("P-256"), "ES256")
    assert header["jwk"] == {"x": 2}


def test_claims_that_json_does_not_know():
    """A claim that is not a number can't be sent, and is refused rather than sent as NaN."""
    with pytest.raises(ValueError, match="JSON"):
        SigningKey.of(private_key("P-256")).sign({"exp": float("nan")})


@pytest.mark.parametrize("alg", [alg for _, alg in ALGORITHMS])
def test_new_keys(alg):
    """A new key signs with the algorithm that it was made for, and has no kid."""
    key = SigningKey.generate(alg)
    assert (key.alg, key.key_id) == (alg, None)
    assert key.sign(CLAIMS) != SigningKey.generate(alg).sign(CLAIMS)


@pytest.mark.parametrize("alg", ["HS256", "none", "ES257", None, 1])
def test_new_keys_for_other_algorithms(alg):
    """No key is made for a secret, for no signature, or for an unknown algorithm."""
    with pytest.raises(InvalidConfigurationError, match=r"^alg must be 'RS256', ") as caught:
        SigningKey.generate(alg)
    assert caught.value.field == "alg"


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("RSA", {"kty", "n", "e"}),
        ("P-256", {"kty", "crv", "x", "y"}),
        ("Ed25519", {"kty", "crv", "x"}),
    ],
)
def test_the_public_jwk(kind, names):
    """The public JWK has the members of the thumbprint, and the kid if there is one."""
    jwk = SigningKey.of(private_key(kind)).public_jwk()
    assert jwk.keys() == names
    assert jwk.items() <= jwk_of(private_key(kind)).items()
    assert SigningKey.of(private_key(kind), key_id="k1").public_jwk() == {**jwk, "kid": "k1"}


def test_a_key_that_is_one_already():
    """A SigningKey stays the same, and takes no further options."""
    key = SigningKey.generate()
    assert SigningKey.of(key) is key
    assert refused(key, key_id="k1") == (
        "private_key",
        "private_key is a SigningKey, which has these options itself.",
    )
    assert refused(key, private_key_file="x")[0] == "private_key"


PUBLIC = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
EC_PEM = pem_of(private_key("P-256"))
ENCRYPTED = pem_of(private_key("P-256"), PASSWORD)


@pytest.mark.parametrize(
    ("key", "options", "field", "says"),
    [
        (None, {}, "private_key", "or private_key_file is required"),
        (EC_PEM, {"private_key_file": "x"}, "private_key", "and not both"),
        ("/etc/key.pem", {}, "private_key", "is neither PEM nor a JWK. For the path of a file"),
        (b"hunter2-hunter2", {}, "private_key", "is not a private key in PEM or JWK."),
        (public_pem_of(private_key("RSA")), {}, "private_key", "is a public key. Signing takes"),
        (private_key("RSA").public_key(), {}, "private_key", "is a public key. Signing takes"),
        (PUBLIC, {}, "private_key", "is a public key. Signing takes"),
        (b"-----BEGIN CERTIFICATE-----\n", {}, "private_key", "is a certificate. Signing takes"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", {}, "private_key", "ssh-keygen -p -m PKCS8"),
        (EC_PEM[:100], {}, "private_key", "is damaged, or only a part of the key."),
        (EC_PEM.replace(b"MIG", b"MIH"), {}, "private_key", "is damaged, or only a part"),
        (ENCRYPTED, {}, "password", "is encrypted. Set password."),
        (ENCRYPTED, {"password": "wrong"}, "private_key", "the password is wrong, or the key"),
        (ENCRYPTED, {"password": ""}, "password", "is empty"),
        (ENCRYPTED, {"password": 1}, "password", "must be a string or bytes, not int"),
        (EC_PEM, {"password": "p"}, "password", "is not encrypted. Remove password."),
        (jwk_of(private_key("RSA")), {"password": "p"}, "password", "takes no password"),
        (private_key("RSA"), {"password": "p"}, "password", "takes no password"),
        ("{", {}, "private_key", "is not valid JSON."),
        (b"{}" * 2, {}, "private_key", "is not valid JSON."),
        ({"keys": []}, {}, "private_key", "is a set of keys. Use one of them."),
        ({"kty": "oct", "k": "AA"}, {}, "private_key", "is a shared secret. Use ClientSecretJwt."),
        ({"kty": "AKP"}, {}, "private_key", "is not a JWK of the kty 'RSA', 'EC' or 'OKP'."),
        ({"kty": ["RSA"]}, {}, "private_key", "is not a JWK of the kty"),
        (PUBLIC | {"d": "AA"}, {}, "private_key", "is not a valid JWK."),
        (PUBLIC | {"use": "enc"}, {}, "private_key", "is for encryption by its JWK's use."),
        ({"kty": b"x"}, {}, "private_key", "is not a valid JWK: it has values that"),
        (jwk_of(private_key("RSA"), kid=1), {}, "private_key", "whose kid is not a string."),
        (jwk_of(private_key("RSA"), alg=1), {}, "private_key", "whose alg is not a string."),
        (rsa.generate_private_key(65537, 1024), {}, "private_key", "has 1024 bits. RSA keys need"),
        (ec.generate_private_key(ec.SECP256K1()), {}, "private_key", "is on the curve secp256k1."),
        (x25519.X25519PrivateKey.generate(), {}, "private_key", "not X25519PrivateKey."),
        (ed448.Ed448PrivateKey.generate(), {}, "private_key", "not Ed448PrivateKey."),
        (17, {}, "private_key", "not int."),
        (EC_PEM, {"signing_alg": "HS256"}, "signing_alg", "must be 'RS256', "),
        (EC_PEM, {"signing_alg": 256}, "signing_alg", "not int."),
        (EC_PEM, {"signing_alg": "RS256"}, "signing_alg", "the key, which signs with ES256."),
        (EC_PEM, {"signing_alg": "ES384"}, "signing_alg", "the key, which signs with ES256."),
        (
            jwk_of(private_key("RSA"), alg="RSA-OAEP"),
            {},
            "signing_alg",
            "the JWK's alg 'RSA-OAEP' does not fit the key, which signs with RS256, ",
        ),
        (
            jwk_of(private_key("RSA"), alg="RS512"),
            {"signing_alg": "RS256"},
            "signing_alg",
            "signing_alg 'RS256' is not the alg of the JWK, 'RS512'. Remove one of them.",
        ),
        (EC_PEM, {"key_id": ""}, "key_id", "key_id is empty"),
        (EC_PEM, {"certificate_file": 3}, "certificate_file", "must be a path, not int"),
        (None, {"private_key_file": ["x"]}, "private_key_file", "must be a path, not list"),
        (None, {"private_key_file": ""}, "private_key_file", "is empty"),
    ],
    ids=itertools.count(),  # the keys are random
)
def test_what_is_not_a_key(key, options, field, says):
    """The error names the option and what to do, and shows neither key nor password."""
    found, message = refused(key, **options)
    assert found == field
    assert says in message
    assert not any(secret in message for secret in ("hunter2", "MIG"))


def test_a_kind_of_key_that_cryptography_does_not_support(monkeypatch):
    """A PEM that cryptography has no implementation for is reported as such."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    def load(*_):
        raise UnsupportedAlgorithm("this curve")

    monkeypatch.setattr(serialization, "load_pem_private_key", load)
    _, message = refused(b"-----BEGIN PRIVATE KEY-----")
    assert message == "private_key is of a kind that is not supported."


def test_keys_are_cached_by_content():
    """Equal content is parsed once, whatever it is from; another password is another content."""
    one = read_key(pem_of(private_key("RSA")), None)
    assert read_key(pem_of(private_key("RSA")), None) is one
    assert read_key(pem_of(private_key("RSA", 1)), None) is not one
    encrypted = pem_of(private_key("P-256"), "a")
    decrypted = read_key(encrypted, b"a")
    assert read_key(encrypted, b"a") is decrypted
    refused(encrypted, password="b")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
)
def test_copies(form, copied):
    """A copy, even one that was pickled, signs with the same key and options."""
    key = SigningKey.of(**given(private_key("P-256"), form), key_id="k1")
    header, _ = verified(copied(key).sign(CLAIMS), private_key("P-256"), "ES256")
    assert header["kid"] == "k1"


@pytest.mark.parametrize("alg", ["HS256", "ES256"])
def test_a_signer_that_is_pickled(alg):
    """A signer with a secret can be pickled; a key object can't, and is not lost silently."""
    secret = b"s" * 32
    if alg == "ES256":
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(JwsSigner(alg, private_key("P-256")))
        return
    signer = pickle.loads(pickle.dumps(JwsSigner(alg, secret, {"kid": "k"})))
    assert verified(signer.sign(CLAIMS), secret, alg)[0]["kid"] == "k"


@pytest.mark.parametrize("form", FORMS)
def test_no_secret_in_the_repr(form):
    """The repr has the algorithm and the kid, and neither key nor password."""
    arguments = given(private_key("Ed25519"), form)
    key = SigningKey.of(**arguments, key_id="k1")
    assert repr(key) == "<SigningKey EdDSA 'k1'>"
    options = repr(key._options) + repr(key._loaded)
    secret = jwk_of(private_key("Ed25519"))["d"]
    assert not any(each in options for each in (PASSWORD, secret, "BEGIN"))
