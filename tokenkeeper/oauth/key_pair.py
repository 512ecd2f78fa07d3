"""A certificate and its private key, from PEM: whether they fit, and how TLS gets them."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.hiding import Hidden

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["CertificateFileError", "KeyPair", "read_key_pair"]

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_PRIVATE_KEY = b"PRIVATE KEY-----"
_DER_SEQUENCE = b"\x30\x82"


class CertificateFileError(Exception):
    """A file of a certificate or of its key can't be used. The message shows no content.

    :ivar field: the option that names the file.
    :ivar incomplete: whether the files may be in the middle of being replaced.
    :ivar transient: whether the problem may pass without a change of the configuration.
    """

    def __init__(
        self,
        problem: str,
        *,
        field: str = "certificate_file",
        incomplete: bool = False,
        transient: bool = False,
    ) -> None:
        super().__init__(problem)
        self.field: str = field
        self.incomplete: bool = incomplete
        self.transient: bool = transient or incomplete


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and the private key that belongs to it. Immutable.

    :ivar certificate: the certificate and those of its issuers, in PEM.
    :ivar key: the private key, in PEM.
    :ivar files: the files that they were read from.
    :ivar thumbprint: the value of ``x5t#S256`` in tokens that are bound to it (RFC 8705 §3.1).
    """

    certificate: bytes
    key: Hidden[bytes]
    files: tuple[str, str]
    not_before: datetime
    not_after: datetime
    thumbprint: str
    der: bytes

    def check_dates(self, now: float) -> None:
        """Raise unless the certificate is valid at *now*, in seconds since the epoch.

        :raises CertificateFileError: if it has expired, or is not valid yet.
        """
        if now < self.not_before.timestamp():
            problem = f"is not valid before {_shown(self.not_before)}"
            raise CertificateFileError(
                f"the certificate in {self.files[0]} {problem}. Check this machine's clock.",
                transient=True,
            )
        if now >= self.not_after.timestamp():
            raise CertificateFileError(
                f"the certificate in {self.files[0]} expired on {_shown(self.not_after)}. Replace "
                "the file; it is read again for each request."
            )

    def load_into(self, context: ssl.SSLContext) -> None:
        """Have connections of *context* present the certificate.

        The bytes that were checked are used, as the files may be replaced meanwhile. The ``ssl``
        module only reads files, so it gets files in memory, if the system has any.

        :raises CertificateFileError: if TLS can't use them, for example because the key is weak.
        """
        try:
            try:
                with _in_memory(self.certificate) as first, _in_memory(self.key.text) as second:
                    context.load_cert_chain(first, second)
            except _NoMemoryFileError:
                context.load_cert_chain(*self.files)
        except OSError as error:
            reason = getattr(error, "reason", None) or type(error).__name__
            raise CertificateFileError(
                f"TLS can't use the certificate in {self.files[0]} with the key in "
                f"{self.files[1]} ({reason})",
                incomplete="MISMATCH" in reason,
                transient=not isinstance(error, ssl.SSLError),
            ) from None


class _NoMemoryFileError(Exception):
    """The system has no files in memory, or none that can be opened by name."""


@contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """Yield the path of a file in memory with *content*. No other user can open it."""
    try:
        number = os.memfd_create("tokenkeeper")
    except (AttributeError, OSError):
        raise _NoMemoryFileError from None
    with open(number, "wb") as file:
        file.write(content)
        file.flush()
        path = f"/proc/self/fd/{number}"
        if not os.path.exists(path):
            raise _NoMemoryFileError
        yield path


def read_key_pair(certificate: bytes, key: Hidden[bytes], files: tuple[str, str]) -> KeyPair:
    """Return the pair in the contents of *files*.

    :raises CertificateFileError: if they are not complete, do not fit, or can't be used by TLS.
    """
    leaf = _first_certificate(certificate, files[0])
    private = _private_key(key, files)
    if _public_key(leaf, files[0]) != private.public_key():
        raise CertificateFileError(
            f"the private key in {files[1]} does not belong to the first certificate in {files[0]}",
            field="certificate_key_file",
            incomplete=True,
        )
    der = _der(leaf)
    digest = base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()
    began, ends = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    pair = KeyPair(certificate, key, files, began, ends, digest, der)
    pair.load_into(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    return pair


def _first_certificate(content: bytes, file: str) -> x509.Certificate:
    from cryptography import x509  # heavy, so loaded when it is needed

    expected = content.count(_CERTIFICATE)
    if content.startswith(_DER_SEQUENCE):
        problem = "is DER. Convert it to PEM: openssl x509 -inform der -in FILE"
        raise CertificateFileError(f"{file} {problem}")
    if not expected:
        raise CertificateFileError(f"{file} contains no certificate in PEM", incomplete=True)
    try:
        found = x509.load_pem_x509_certificates(content)
    except ValueError:
        found = []
    if len(found) != expected:
        problem = "contains a certificate that is damaged or incomplete"
        raise CertificateFileError(f"{file} {problem}", incomplete=True)
    return found[0]


def _private_key(key: Hidden[bytes], files: tuple[str, str]) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    incomplete = False
    if b"ENCRYPTED" in key.text:
        problem = "is encrypted. Provide it without a password, readable by this service only"
    elif _PRIVATE_KEY not in key.text:
        problem, incomplete = "contains no private key in PEM", True
        if files[0] == files[1]:
            problem += ". Set certificate_key_file, or append the key to the certificate"
    else:
        try:
            return load_pem_private_key(key.text, None)
        except UnsupportedAlgorithm:
            problem = "contains a private key of an algorithm that is not supported"
        except (ValueError, TypeError):
            problem, incomplete = "contains a private key that is damaged or incomplete", True
    raise CertificateFileError(
        f"{files[1]} {problem}", field="certificate_key_file", incomplete=incomplete
    )


def _public_key(certificate: x509.Certificate, file: str) -> object:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        problem = "contains a certificate whose key is of an algorithm that is not supported"
    raise CertificateFileError(f"{file} {problem}")


def _der(certificate: x509.Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.DER)


def _shown(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
