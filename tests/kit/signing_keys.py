"""Private keys of all kinds, their files, and what verifies their signatures."""

from functools import cache

import jwt
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import get_default_algorithms

from tokenkeeper.oauth.private_keys import new_key

KINDS = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("EdDSA", "Ed25519"),
}
"""The algorithms by the kind of key; the first is the default."""

ALGORITHMS = [(kind, alg) for kind, algorithms in KINDS.items() for alg in algorithms]


@cache
def private_key(kind, number=0):
    """Return a key; a further one of the same kind for another *number*."""
    return new_key(KINDS[kind][0])


def pem_of(key, password=None):
    """Return a key as PEM, encrypted if there is a password."""
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password.encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def public_pem_of(key):
    """Return the public half of a key as PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def jwk_of(key, **members):
    """Return a key as a JWK, a mapping."""
    for kind, algorithms in KINDS.items():
        if type(private_key(kind)) is type(key):
            jwk = get_default_algorithms()[algorithms[0]].to_jwk(key, as_dict=True)
            jwk.pop("key_ops", None)
            return {**jwk, **members}
    raise AssertionError(key)


def verified(token, key, alg, **options):
    """Return header and claims of a JWT after PyJWT has verified its signature.

    :param key: a private key, or bytes.
    """
    jws = jwt.PyJWS()
    if alg == "Ed25519":  # RFC 9864, the same signatures under another name
        jws.register_algorithm(alg, get_default_algorithms()["EdDSA"])
    verifying = key if isinstance(key, bytes) else key.public_key()
    found = jws.decode_complete(token, verifying, algorithms=[alg])
    assert found["header"]["alg"] == alg
    return found["header"], jwt.decode(token, options={"verify_signature": False})
