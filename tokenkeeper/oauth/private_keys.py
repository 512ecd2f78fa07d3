"""Reads private keys: PEM (RFC 7468), also encrypted, JWK (RFC 7517), and objects of cryptography.

Reading an RSA key from PEM takes as long as a hundred signatures, because the key is checked. So
keys are cached by the content that they were read from.
"""

from __future__ import annotations

import codecs
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from tokenkeeper._runtime.fork import forks_wait

__all__ = ["ALGORITHMS", "PrivateKey", "UnusableKeyError", "key_of", "new_key", "read_key"]

_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_BY_CURVE = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_ED25519 = ("EdDSA", "Ed25519")

ALGORITHMS = (*_RSA, *_BY_CURVE.values(), *_ED25519)
"""The algorithms that private keys sign with (RFC 7518 §3.1, RFC 8037 §3.1, RFC 9864 §2.2)."""

_SHORTEST_RSA_KEY = 2048
"""In bits (RFC 7518 §3.3)."""


class UnusableKeyError(Exception):
    """The reason why a key can't be used, to follow the name of where it is from.

    :ivar field: the option to fix, if that is not the key itself.
    """

    def __init__(self, problem: str, field: str | None = None) -> None:
        super().__init__(problem)
        self.field = field


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class PrivateKey:
    """A private key. Immutable.

    :ivar key: the object of cryptography.
    :ivar algorithms: what it can sign with; the first is the default.
    :ivar alg: the algorithm that its JWK states.
    :ivar kid: the identifier that its JWK states.
    """

    key: Any = field(repr=False)
    algorithms: tuple[str, ...]
    alg: str | None = None
    kid: str | None = None


_cached: WeakValueDictionary[bytes, PrivateKey] = WeakValueDictionary()
"""By a digest of content and password, for as long as something uses the key."""


def read_key(content: bytes, password: bytes | None) -> PrivateKey:
    """Return the private key in *content*, PEM or a JWK. Equal content gives the same object.

    :raises UnusableKeyError: if there is none, or it can't be used.
    """
    lengths = f"{len(content)} {password is None} ".encode()
    digest = hashlib.sha256(lengths + content + (password or b"")).digest()
    found = _cached.get(digest)
    if found is None:
        found = _parse(content, password)
        _cached[digest] = found
    return found


def key_of(key: object, *, alg: object = None, kid: object = None) -> PrivateKey:
    """Return *key*, an object of cryptography, with what it can sign with.

    :raises UnusableKeyError: if it can't sign, or is too short.
    """
    with forks_wait():
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    algorithms: tuple[str, ...]
    if isinstance(key, rsa.RSAPrivateKey):
        if key.key_size < _SHORTEST_RSA_KEY:
            raise UnusableKeyError(
                f"has {key.key_size} bits. RSA keys need {_SHORTEST_RSA_KEY} (RFC 7518 §3.3)"
            )
        algorithms = _RSA
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        if key.curve.name not in _BY_CURVE:
            raise UnusableKeyError(f"is on the curve {key.curve.name}. Use P-256, P-384 or P-521")
        algorithms = (_BY_CURVE[key.curve.name],)
    elif isinstance(key, ed25519.Ed25519PrivateKey):
        algorithms = _ED25519
    elif hasattr(key, "public_bytes"):
        raise UnusableKeyError("is a public key. Signing takes the private one")
    else:
        raise UnusableKeyError(
            "must be a private key of RSA, of an elliptic curve or of Ed25519, as PEM, JWK or "
            f"object of cryptography, not {type(key).__name__}"
        )
    for name, value in (("alg", alg), ("kid", kid)):
        if value is not None and not isinstance(value, str):
            raise UnusableKeyError(f"has a JWK whose {name} is not a string")
    return PrivateKey(key, algorithms, alg, kid)  # type: ignore[arg-type]  # strings, see above


def new_key(alg: str) -> Any:
    """Return a new private key for *alg*."""
    with forks_wait():
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if alg in _RSA:
        return rsa.generate_private_key(public_exponent=65537, key_size=_SHORTEST_RSA_KEY)
    if alg in _ED25519:
        return ed25519.Ed25519PrivateKey.generate()
    curves: dict[str, type[Any]] = {
        "ES256": ec.SECP256R1,
        "ES384": ec.SECP384R1,
        "ES512": ec.SECP521R1,
    }
    return ec.generate_private_key(curves[alg]())


def _parse(content: bytes, password: bytes | None) -> PrivateKey:
    content = content.removeprefix(codecs.BOM_UTF8)  # some editors write it
    if not content.lstrip().startswith(b"{"):
        return key_of(_from_pem(content, password))
    if password is not None:
        raise UnusableKeyError("is a JWK, which takes no password", "password")
    try:
        jwk = json.loads(content)
    except (ValueError, RecursionError):
        jwk = None
    if not isinstance(jwk, dict):
        raise UnusableKeyError("is not valid JSON")
    return key_of(_from_jwk(jwk), alg=jwk.get("alg"), kid=jwk.get("kid"))


def _from_jwk(jwk: Mapping[str, Any]) -> object:
    with forks_wait():
        from jwt import algorithms

    kinds: dict[str, Any] = {
        "RSA": algorithms.RSAAlgorithm,
        "EC": algorithms.ECAlgorithm,
        "OKP": algorithms.OKPAlgorithm,
    }
    if "keys" in jwk:
        problem = "is a set of keys. Use one of them"
    elif jwk.get("kty") == "oct":
        problem = "is a shared secret. Use ClientSecretJwt"
    elif str(jwk.get("kty")) not in kinds:
        problem = "is not a JWK of the kty 'RSA', 'EC' or 'OKP'"
    elif jwk.get("use", "sig") != "sig":
        problem = "is for encryption by its JWK's use"
    elif "d" not in jwk:
        problem = "is a public key. Signing takes the private one"
    else:
        try:
            return kinds[jwk["kty"]].from_jwk(dict(jwk))
        except Exception:  # noqa: BLE001 - of many classes, and its text may contain the key
            problem = "is not a valid JWK"
    raise UnusableKeyError(problem)  # out here, so that it has no context


def _from_pem(content: bytes, password: bytes | None) -> object:
    with forks_wait():
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(content, password)
    except TypeError:
        if password is None:
            failure = UnusableKeyError("is encrypted. Set password", "password")
        else:
            failure = UnusableKeyError("is not encrypted. Remove password", "password")
    except UnsupportedAlgorithm:
        failure = UnusableKeyError("is of a kind that is not supported")
    except ValueError:
        failure = _fault_of_pem(content, password)
    raise failure


def _fault_of_pem(content: bytes, password: bytes | None) -> UnusableKeyError:
    if password is not None and b"ENCRYPTED" in content:
        return UnusableKeyError("can't be decrypted: the password is wrong, or the key is damaged")
    if b"BEGIN OPENSSH" in content:
        return UnusableKeyError(
            "is in the format of OpenSSH. Convert it: ssh-keygen -p -m PKCS8 -f FILE"
        )
    if b"PRIVATE KEY" in content:
        return UnusableKeyError("is damaged, or only a part of the key")
    if b"PUBLIC KEY" in content:
        return UnusableKeyError("is a public key. Signing takes the private one")
    if b"BEGIN CERTIFICATE" in content:
        return UnusableKeyError("is a certificate. Signing takes its private key")
    return UnusableKeyError("is not a private key in PEM or JWK")
