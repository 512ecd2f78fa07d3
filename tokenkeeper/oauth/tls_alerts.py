"""What a server's TLS alert says about the certificate that the client presented (RFC 8446 §6.2).

OpenSSL's texts for one alert differ between its versions: ``sslv3 alert certificate expired``,
``ssl/tls alert certificate expired`` and ``SSLV3_ALERT_CERTIFICATE_EXPIRED``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["RejectedCertificate", "rejected_certificate"]


class RejectedCertificate(NamedTuple):
    """Why a server rejected a certificate, and what to do, without full stops."""

    problem: str
    advice: str


_REGISTERED = "Use the certificate that is registered for this client, with all of its issuers"

_ALERTS = {
    "certificate required": RejectedCertificate(
        "the server requires a client certificate, and did not get the one in {file}",
        "Check that nothing between here and the server ends TLS",
    ),
    "unknown ca": RejectedCertificate(
        "the server does not trust the issuer of the client certificate in {file}",
        "Append the certificates of its issuers to the file, or have the server trust its CA",
    ),
    "certificate expired": RejectedCertificate(
        "the server says that the client certificate in {file} has expired or is not valid yet",
        "Renew it, or set the clock that is wrong",
    ),
    "certificate revoked": RejectedCertificate(
        "the server says that the client certificate in {file} was revoked",
        "Have a new one issued",
    ),
    "certificate unknown": RejectedCertificate(
        "the server does not accept the client certificate in {file}", _REGISTERED
    ),
    "bad certificate": RejectedCertificate(
        "the server does not accept the client certificate in {file}", _REGISTERED
    ),
    "unsupported certificate": RejectedCertificate(
        "the server does not support the kind of client certificate in {file}",
        "Have it issued for client authentication (extended key usage), with a key that the server "
        "supports",
    ),
    "access denied": RejectedCertificate(
        "the server denies access to the client certificate in {file}", _REGISTERED
    ),
}
"""By the alert's name in the RFC, with spaces."""

_NAMES = "|".join(name.replace(" ", "[ _]") for name in _ALERTS)
_ALERT = re.compile(rf"alert[ _]({_NAMES})\b", re.IGNORECASE)


def rejected_certificate(text: str, file: str) -> RejectedCertificate | None:
    """Return what the alert in *text* means, or ``None`` if it is about something else.

    :param text: OpenSSL's text for the error.
    :param file: the file of the certificate that was presented.
    """
    found = _ALERT.search(text)
    if found is None:
        return None
    problem, advice = _ALERTS[found[1].replace("_", " ").lower()]
    return RejectedCertificate(problem.format(file=file), advice)
