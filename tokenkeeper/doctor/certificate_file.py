"""The certificate of a client, in a file, and whether its private key fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from tokenkeeper._support.hiding import without_frames
from tokenkeeper.config.credentials import CredentialFile

__all__ = ["UnusableError", "fits", "is_key_of", "read_client_certificate"]

_LARGEST = 1024 * 1024


class UnusableError(Exception):
    """A file can't be used. Its text says why, and shows nothing of it."""


@without_frames
def read_client_certificate(file: CredentialFile) -> tuple[bytes, Any]:
    """Return the first certificate in *file*, in DER, and the private key there, if there is one.

    :raises UnusableError: if it has no certificate.
    """
    content = _content(file.file)
    if b"-----BEGIN" not in content:
        return _in_bundle(content, file.password)
    try:
        chain = x509.load_pem_x509_certificates(content)
    except ValueError:
        raise UnusableError("contains no certificate in PEM") from None
    has_key = b"PRIVATE KEY-----" in content
    return chain[0].public_bytes(Encoding.DER), _key_in(content, file.password) if has_key else None


@without_frames
def fits(certificate: bytes, key_file: CredentialFile) -> bool:
    """Return whether the private key in *key_file* is that of *certificate*.

    :raises UnusableError: if there is no such key.
    """
    key = _key_in(_content(key_file.file), key_file.password)
    return is_key_of(key, certificate)


def is_key_of(key: Any, certificate: bytes) -> bool:
    """Return whether *key* is the private key of *certificate*."""
    theirs = x509.load_der_x509_certificate(certificate).public_key()
    return _encoded(theirs) == _encoded(key.public_key())


def _in_bundle(content: bytes, password: str | None) -> tuple[bytes, Any]:
    try:
        bundle = pkcs12.load_pkcs12(content, None if password is None else password.encode())
    except ValueError:
        bundle = None
    if bundle is None or bundle.cert is None:
        raise UnusableError("contains no certificate that its password opens")
    return bundle.cert.certificate.public_bytes(Encoding.DER), bundle.key


def _key_in(content: bytes, password: str | None) -> Any:
    try:
        return load_pem_private_key(content, None if password is None else password.encode())
    except TypeError:
        problem = (
            "is encrypted, and no password is set" if password is None else "needs no password"
        )
    except (ValueError, UnsupportedAlgorithm):
        problem = "contains no private key in PEM that its password opens"
    raise UnusableError(problem)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        problem = f"can't be read: {error.strerror or type(error).__name__}"
    raise UnusableError(problem)


def _encoded(public_key: Any) -> bytes:
    encoded: bytes = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return encoded
