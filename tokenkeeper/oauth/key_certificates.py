"""The certificate of a signing key, as the header of a JWT names it (RFC 7515 §4.1.8)."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper.oauth.jws import base64url
from tokenkeeper.oauth.private_keys import UnusableKeyError

__all__ = ["thumbprint_in"]


def thumbprint_in(chain: bytes, key: Any, now: float) -> str:
    """Return the ``x5t#S256`` of the first certificate in *chain*.

    :param chain: certificates in PEM, the one of *key* first.
    :param key: the private key.
    :param now: seconds since the epoch.
    :raises UnusableKeyError: if it can't be read, has expired, or is for another key.
    """
    with forks_wait():
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    try:
        certificate = x509.load_pem_x509_certificate(chain)
        certified = certificate.public_key()
        expiry = certificate.not_valid_after_utc
    except Exception:  # noqa: BLE001 - of many classes, whatever is wrong with the certificate
        problem = "is not a certificate in PEM"
    else:
        spki = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
        if certified.public_bytes(*spki) != key.public_key().public_bytes(*spki):
            problem = "is for another key"
        elif expiry <= datetime.fromtimestamp(now, UTC):
            problem = f"expired on {expiry:%Y-%m-%d}. Replace it"
        else:
            digest = hashlib.sha256(certificate.public_bytes(Encoding.DER)).digest()
            return base64url(digest).decode("ascii")
    raise UnusableKeyError(problem)
