"""TLS on loopback, with certificates of a CA that a test creates."""

import base64
import hashlib
import ssl
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID


def context_of(authority, *hosts, **validity):
    """Return the TLS context of a server whose certificate *authority* issued for *hosts*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*hosts, **validity).configure_cert(context)
    return context


def thumbprint(der):
    """Return ``x5t#S256`` of a certificate (RFC 8705 §3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(der).digest()).rstrip(b"=").decode()


def self_signed(key, name="client.test"):
    """Return a certificate of *key* in PEM, signed with that key and valid for ten days."""
    now = datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = x509.CertificateBuilder(
        subject,
        subject,
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(minutes=1),
        now + timedelta(days=10),
    )
    digest = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, digest).public_bytes(Encoding.PEM)


class ClientFiles:
    """The certificate of a client and its key, in two files of a folder, and how to replace them.

    :ivar seen: the thumbprints of all that were issued, in order.
    """

    def __init__(self, authority, folder, name="client.test"):
        self.authority, self.name = authority, name
        self.certificate, self.key = folder / f"{name}.crt", folder / f"{name}.key"
        self.seen = []
        self.replace()

    @property
    def paths(self):
        return str(self.certificate), str(self.key)

    @property
    def thumbprint(self):
        """That of the last certificate that was issued."""
        return self.seen[-1]

    def issue(self, **validity):
        """Return a new certificate with its issuers, and its key, in PEM."""
        issued = self.authority.issue_cert(self.name, **validity)
        chain = [each.bytes() for each in issued.cert_chain_pems]
        self.seen.append(thumbprint(ssl.PEM_cert_to_DER_cert(chain[0].decode())))
        return b"".join(chain), issued.private_key_pem.bytes()

    def replace(self, **validity):
        """Replace both files, one after the other."""
        certificate, key = self.issue(**validity)
        self.key.write_bytes(key)
        self.certificate.write_bytes(certificate)
