"""A server's certificate, as far as people want to know it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from tokenkeeper.oauth.redaction import sanitize

__all__ = ["Certificate", "read_certificate"]


@dataclass(frozen=True)
class Certificate:
    """What a certificate says of itself, whether or not it is to be believed.

    :ivar hosts: the names and addresses that it is for (RFC 5280 §4.2.1.6).
    """

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    hosts: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "hosts": list(self.hosts),
        }

    def seconds_left(self, now: float) -> float:
        """Return how long it is still valid; negative once it has ended."""
        return self.not_after.timestamp() - now


def read_certificate(der: bytes | None) -> Certificate | None:
    """Return what *der* says; ``None`` if it can't be read."""
    try:
        parsed = x509.load_der_x509_certificate(der or b"")
        hosts = _hosts(parsed)
        subject, issuer = _name(parsed.subject), _name(parsed.issuer)
    except ValueError:  # what a server sends need be no certificate
        return None
    return Certificate(
        subject or ", ".join(hosts[:1]) or "nobody",
        issuer or "nobody",
        parsed.not_valid_before_utc,
        parsed.not_valid_after_utc,
        hosts,
    )


def _hosts(parsed: x509.Certificate) -> tuple[str, ...]:
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    found = [
        *names.get_values_for_type(x509.DNSName),
        *map(str, names.get_values_for_type(x509.IPAddress)),
    ]
    return tuple(sanitize(each, limit=100) for each in found)


def _name(name: x509.Name) -> str:
    """Return the common name and the organisation, or whatever there is."""
    parts = [
        str(attribute.value)
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        for attribute in name.get_attributes_for_oid(kind)
    ]
    return sanitize(", ".join(parts) or name.rfc4514_string(), limit=150)
