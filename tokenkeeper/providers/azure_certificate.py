"""A certificate as the credential of an application in Microsoft Entra ID (RFC 7523 §2.2).

msal would keep one assertion for ten minutes, and the key for as long as the process lives. Here
each request has an assertion of its own, and a replaced file is noticed at the next one.
"""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from tokenkeeper._support.checks import checked_text
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError

__all__ = ["CertificateCredential"]

LIFETIME_SECONDS = 600
"""How long an assertion is valid. It is sent at once, but clocks differ."""

ONLY_RSA = "must contain an RSA key: Entra ID accepts no other"

LONGEST_FILE = 1024 * 1024
"""In bytes. A certificate with its issuers and its key has a few thousand."""


class _Pair(NamedTuple):
    """What a file contains.

    :ivar digest: of the file, to notice another content.
    :ivar chain: the certificate, and those of its issuers.
    """

    digest: bytes
    key: RSAPrivateKey
    chain: tuple[x509.Certificate, ...]


class _UnusableFileError(Exception):
    """A file has no certificate that can be used. Its text says why, and shows nothing of it."""


class CertificateCredential:
    """Signs an assertion for each request with the key of a certificate. Thread-safe.

    :param certificate_file: a file with the certificate and its private key, in PEM or PKCS #12.
    :param password: the password of the key; ``None`` if it is not encrypted.
    :param send_x5c: whether to send the certificates, for applications that trust a subject name
        and an issuer rather than one certificate.
    :raises InvalidConfigurationError: if the file can't be used now.
    """

    method: str = "private_key_jwt"

    def __init__(
        self,
        client_id: str,
        certificate_file: str | os.PathLike[str],
        password: str | None,
        send_x5c: bool,
        clock: Clock,
    ) -> None:
        path = (
            os.fspath(certificate_file)
            if isinstance(certificate_file, os.PathLike)
            else certificate_file
        )
        self._client_id = client_id
        self._path = checked_text(path, "certificate_file")
        if password is not None:
            checked_text(password, "certificate_password")
        self._password = password
        self._send_x5c = send_x5c
        self._clock = clock
        self._pair: _Pair | None = None  # published in one assignment
        try:
            self._current()
        except _UnusableFileError as unusable:
            problem = str(unusable)
        else:
            return
        field = "certificate_password" if "password" in problem else "certificate_file"
        raise InvalidConfigurationError(f"{field}: {self._path} {problem}", field=field)

    def __reduce__(self) -> tuple[type[CertificateCredential], tuple[Any, ...]]:
        settings = self._client_id, self._path, self._password, self._send_x5c, self._clock
        return type(self), settings

    def for_msal(self, token_endpoint: Callable[[], str], *, is_adfs: bool) -> dict[str, Any]:
        """Return a callable that signs an assertion."""
        return {"client_assertion": lambda: self._assertion(token_endpoint(), is_adfs=is_adfs)}

    def secrets(self) -> list[str]:
        """Return the password: the assertion is in the request."""
        return [self._password] if self._password else []

    def describe(self) -> Mapping[str, object]:
        """Return the path of the file."""
        return {"certificate_file": self._path}

    def _assertion(self, audience: str, *, is_adfs: bool) -> str:
        try:
            pair = self._current()
        except _UnusableFileError as unusable:
            problem = str(unusable)
        else:
            claims = _claims(self._client_id, audience, int(self._clock.time()))
            headers, algorithm = _headers(pair, self._send_x5c, is_adfs=is_adfs)
            return jwt.encode(claims, pair.key, algorithm=algorithm, headers=headers)
        # It may be half written, so another attempt may succeed.
        raise TokenAcquisitionError(f"certificate_file: {self._path} {problem}", transient=True)

    def _current(self) -> _Pair:
        """Return what the file contains now."""
        try:
            with open(self._path, "rb") as file:
                content = file.read(LONGEST_FILE + 1)
        except OSError as error:
            raise _UnusableFileError(
                f"can't be read: {error.strerror or type(error).__name__}"
            ) from None
        if len(content) > LONGEST_FILE:
            raise _UnusableFileError("is larger than 1 MiB")
        digest = hashlib.sha256(content).digest()
        pair = self._pair
        if pair is None or pair.digest != digest:
            # Parsing costs 80 times what a signature does.
            pair = self._pair = _parsed(content, digest, self._password)
        return pair


def _parsed(content: bytes, digest: bytes, password: str | None) -> _Pair:
    secret = None if password is None else password.encode()
    try:
        if b"-----BEGIN" in content:
            key: Any = load_pem_private_key(content, secret)
            chain = x509.load_pem_x509_certificates(content)
        else:
            bundle = pkcs12.load_pkcs12(content, secret)
            key = bundle.key
            found = [bundle.cert, *bundle.additional_certs]
            chain = [each.certificate for each in found if each is not None]
    except UnsupportedAlgorithm:
        problem = ONLY_RSA
    except TypeError:  # the key is encrypted and there is no password, or the other way round
        hint = "remove certificate_password" if password else "set certificate_password"
        problem = f"does not fit its password: {hint}"
    except ValueError as error:  # cryptography's texts show nothing of the file
        is_password = "password" in str(error).lower() or "decrypt" in str(error).lower()
        problem = (
            "can't be decrypted: check certificate_password"
            if is_password
            else "must contain a certificate and its private key, in PEM or PKCS #12"
        )
    else:
        return _Pair(digest, *_checked(key, chain))
    raise _UnusableFileError(problem)  # out here, so that it has no context


def _checked(
    key: object, chain: list[x509.Certificate]
) -> tuple[RSAPrivateKey, tuple[x509.Certificate, ...]]:
    """Return the key and the chain, whose first certificate is the key's."""
    if not isinstance(key, RSAPrivateKey):
        raise _UnusableFileError(ONLY_RSA)
    public = _encoded(key.public_key())
    own = [each for each in chain if _has_key(each, public)]
    if not own:
        raise _UnusableFileError("contains no certificate for its private key")
    others = [each for each in chain if each is not own[0]]
    return key, (own[0], *others)


def _has_key(certificate: x509.Certificate, public: bytes) -> bool:
    """Return whether *public* is the key of *certificate*."""
    try:
        return _encoded(certificate.public_key()) == public
    except UnsupportedAlgorithm:  # that of an issuer may be of any kind
        return False


def _encoded(public_key: Any) -> bytes:
    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded


def _claims(client_id: str, audience: str, now: int) -> dict[str, Any]:
    """Return the claims of a new assertion (RFC 7523 §3)."""
    return {
        "aud": audience,
        "iss": client_id,
        "sub": client_id,
        "jti": str(uuid.uuid4()),
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
    }


def _headers(pair: _Pair, send_x5c: bool, *, is_adfs: bool) -> tuple[dict[str, Any], str]:
    """Return the headers of an assertion (RFC 7515 §4.1), and the algorithm that signs it."""
    certificate = pair.chain[0]
    headers: dict[str, Any]
    if is_adfs:  # it understands neither PSS nor SHA-256 thumbprints
        algorithm = "RS256"
        headers = {"x5t": _base64url(certificate.fingerprint(hashes.SHA1()))}  # noqa: S303
    else:
        algorithm = "PS256"
        headers = {"x5t#S256": _base64url(certificate.fingerprint(hashes.SHA256()))}
    if send_x5c:
        ders = [each.public_bytes(Encoding.DER) for each in pair.chain]
        headers["x5c"] = [base64.b64encode(der).decode() for der in ders]
    return headers, algorithm


def _base64url(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
