"""Why a TLS handshake failed, and what to do about it."""

from __future__ import annotations

import ssl

from tokenkeeper.doctor.certificate import Certificate
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Finding, failure
from tokenkeeper.doctor.route import Route
from tokenkeeper.oauth.error_codes import CODES
from tokenkeeper.oauth.tls_alerts import rejected_certificate

__all__ = ["bad_bundle", "no_handshake", "no_tunnel", "not_verified"]

# OpenSSL's codes (x509_vfy.h), which Python passes on as verify_code.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER = 18, 19, 20, 21
_OTHER_HOST, _OTHER_ADDRESS = 62, 64


def not_verified(
    error: ssl.SSLCertVerificationError, certificate: Certificate | None, examination: Examination
) -> Finding:
    """Return why the server's certificate was rejected."""
    bundle, code = examination.route.ca_bundle, error.verify_code
    if code in (_EXPIRED, _NOT_YET_VALID) and certificate is not None:
        return _out_of_date(certificate, examination, expired=code == _EXPIRED)
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return failure(
            f"the certificate is not valid for {examination.facts.host}",
            "check the host in the URL, and whether a proxy or firewall intercepts TLS",
        )
    if code == _SELF_SIGNED:
        return failure(
            "the certificate is self-signed and not trusted",
            f"set verify or REQUESTS_CA_BUNDLE to a file that contains it; it is {bundle} now",
        )
    if code in (_SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER):
        return failure(
            "the certificate was issued by an unknown CA",
            "set verify or REQUESTS_CA_BUNDLE to a file that contains this CA; it is "
            f"{bundle} now. The server may also have left out an intermediate certificate",
        )
    return failure(
        f"the certificate was rejected ({error.verify_message})",
        "report this to the server's operator",
    )


def _out_of_date(certificate: Certificate, examination: Examination, *, expired: bool) -> Finding:
    """Return which certificate has expired or is not valid yet: the server's, or its CA's."""
    when = certificate.not_after if expired else certificate.not_before
    if (when.timestamp() <= examination.clock.time()) is not expired:
        return failure(
            "the server's own certificate is valid now, but a certificate of its issuers "
            f"{'has expired' if expired else 'is not valid yet'}",
            "ask the server's operator to renew the certificates that it sends, or renew the CAs "
            f"of this machine: {examination.route.ca_bundle}",
        )
    return failure(
        f"the certificate {'expired' if expired else 'becomes valid'} on {when:%Y-%m-%d %H:%M} UTC",
        "ask the server's operator to renew it, or set this machine's clock if it is wrong",
    )


def no_handshake(error: Exception, examination: Examination) -> Finding:
    """Return why the handshake failed for another reason than the server's certificate."""
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, TimeoutError):
        return failure(
            f"no handshake within {examination.timeout:g} s",
            "check whether a firewall lets TCP connections through, but no TLS",
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return failure(
            f"port {examination.facts.port} of {examination.facts.host} does not speak TLS",
            "check the port in the URL",
        )
    files = examination.facts.certificate_files
    rejected = rejected_certificate(str(error), files[0]) if files else None
    if rejected is not None:
        return failure(rejected.problem, rejected.advice)
    if "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason:
        return failure(
            "TLS certificate required: the server wants one from this client",
            CODES["client_certificate_required"].advice,
        )
    if "PROTOCOL" in reason or "VERSION" in reason:
        return failure(
            f"no version of TLS in common ({reason})",
            "ask the server's operator to support TLS 1.2 or 1.3",
        )
    if "HANDSHAKE_FAILURE" in reason or "CIPHER" in reason:
        return failure(
            f"no parameters of TLS in common ({reason})",
            "ask the server's operator which ciphers it supports, and whether it requires a "
            "client certificate",
        )
    if isinstance(error, ssl.SSLError) and "EOF" not in reason:
        problem = reason or type(error).__name__
        return failure(f"the handshake failed ({problem})", "ask the server's operator")
    return failure(
        "the connection was closed during the handshake",
        "check whether a firewall or a proxy blocks this host",
    )


def no_tunnel(status: int | None) -> Finding:
    """Return why the proxy opened no tunnel; *status* is ``None`` if it sent no response."""
    if status == 407:
        return failure(
            "the proxy requires credentials",
            "put them into its URL: http://user:password@host:port",
        )
    if status is not None:
        return failure(
            f"the proxy rejected the connection to the server (HTTP {status})",
            "permit the host at the proxy, or add it to NO_PROXY",
        )
    return failure(
        "the proxy closed the connection",
        "check that its URL is that of an HTTP proxy",
    )


def bad_bundle(route: Route, error: OSError) -> Finding:
    """Return why the CA certificates could not be loaded."""
    exists = not isinstance(error, FileNotFoundError)
    problem = "contains no CA certificate" if exists else "does not exist"
    return failure(
        f"the file of CA certificates {problem}: {route.ca_bundle}, from {route.ca_named_by}",
        f"correct {route.ca_named_by}",
    )
