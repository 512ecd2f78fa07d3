"""The parts of a server's certificate that a finding shows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.x509.oid import NameOID

from tokenkeeper.oauth.redaction import sanitize

__all__ = ["SOON_DAYS", "Certificate", "read_certificate"]

SOON_DAYS = 14
"""A certificate that expires within this many days causes a warning."""

_DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class Certificate:
    """The claims of a certificate, verified or not.

    :ivar hosts: the host names and addresses that it is valid for (RFC 5280 §4.2.1.6).
    """

    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    hosts: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """The claims as JSON can hold them."""
        return {
            "subject": self.subject,
            "issuer": self.issuer,
            "not_before": self.not_before.isoformat(),
            "not_after": self.not_after.isoformat(),
            "hosts": list(self.hosts),
        }

    def seconds_left(self, now: float) -> float:
        """Return the remaining validity in seconds; negative once it has expired."""
        return self.not_after.timestamp() - now

    def expires_soon(self, now: float) -> bool:
        """Return whether it expires within :data:`SOON_DAYS`, or has expired."""
        return self.seconds_left(now) < SOON_DAYS * _DAY_SECONDS

    def dates(self, now: float) -> str:
        """Return the validity in words."""
        left = self.seconds_left(now)
        began, ends = f"{self.not_before:%Y-%m-%d}", f"{self.not_after:%Y-%m-%d %H:%M}"
        rest = f"{_span(left)} left" if left >= 0 else f"expired {_span(-left)} ago"
        return f"valid from {began} to {ends} UTC, {rest}"


def read_certificate(der: bytes | None) -> Certificate | None:
    """Return the certificate in *der*, or ``None`` if it cannot be read."""
    try:
        parsed = x509.load_der_x509_certificate(der or b"")
        hosts = _hosts(parsed)
        subject, issuer = _name(parsed.subject), _name(parsed.issuer)
    except ValueError:  # a server may send anything
        return None
    return Certificate(
        subject or ", ".join(hosts[:1]) or "(no name)",
        issuer or "(no name)",
        parsed.not_valid_before_utc,
        parsed.not_valid_after_utc,
        hosts,
    )


def _span(seconds: float) -> str:
    """Return *seconds* in whole days, or in hours if there are few days."""
    days = int(seconds / _DAY_SECONDS)
    return f"{days} days" if days >= 2 else f"{int(seconds / 3600)} hours"


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
    """Return the common name and the organisation, or the whole name if it has neither."""
    parts = [
        str(attribute.value)
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        for attribute in name.get_attributes_for_oid(kind)
    ]
    return sanitize(", ".join(parts) or name.rfc4514_string(), limit=150)
