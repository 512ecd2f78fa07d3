"""A throw-away CA and its certificate for loopback."""

from __future__ import annotations

import os
import ssl
import tempfile
from datetime import timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tokenkeeper.clock import SYSTEM_CLOCK, utc

__all__ = ["certified_context"]

VALIDITY = timedelta(days=30)
SLACK = timedelta(hours=1)
"""Certificates begin to be valid so long ago, for clients with a clock that is behind."""


def certified_context() -> tuple[ssl.SSLContext, bytes]:
    """Return the TLS context of a server on 127.0.0.1 and localhost, and its CA's certificate.

    The private keys are in memory only, and briefly in a file that only this user can read.
    """
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = _name("Tokenkeeper's throw-away CA for loopback")
    usage = x509.KeyUsage(
        key_cert_sign=True,
        crl_sign=True,
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    ca = (
        _builder(ca_name, ca_name, ca_key.public_key(), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(ca_key, SHA256())
    )
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.IPAddress(IPv4Address("127.0.0.1")), x509.DNSName("localhost")]
    certificate = (
        _builder(_name("localhost"), ca_name, key.public_key(), ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(ca_key, SHA256())
    )
    return _context(certificate, key), ca.public_bytes(Encoding.PEM)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    issuers_key: ec.EllipticCurvePublicKey,
) -> x509.CertificateBuilder:
    # By the machine's clock, which clients use, and not by a test's.
    now = utc(SYSTEM_CLOCK)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SLACK)
        .not_valid_after(now + VALIDITY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        # Python 3.13 and later require these two (VERIFY_X509_STRICT).
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuers_key), critical=False
        )
    )


def _context(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, path = tempfile.mkstemp()  # ssl loads keys from files only
    try:
        with open(handle, "wb") as file:
            file.write(pem + certificate.public_bytes(Encoding.PEM))
        context.load_cert_chain(path)
    finally:
        os.unlink(path)
    return context
