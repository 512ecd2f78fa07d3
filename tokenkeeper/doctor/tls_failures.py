"""Why TLS failed, in words, and what to do about it."""

from __future__ import annotations

import ssl

from tokenkeeper.doctor.certificate import Certificate
from tokenkeeper.doctor.examination import Visit
from tokenkeeper.doctor.findings import Finding, failure
from tokenkeeper.doctor.route import Route
from tokenkeeper.oauth.verdict import CODES

__all__ = ["bad_bundle", "no_handshake", "no_tunnel", "not_verified"]

# Codes of OpenSSL (x509_vfy.h), which Python hands on as verify_code.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED, _SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER = 18, 19, 20, 21
_OTHER_HOST, _OTHER_ADDRESS = 62, 64


def not_verified(
    error: ssl.SSLCertVerificationError, certificate: Certificate | None, visit: Visit
) -> Finding:
    """Return why the server's certificate was refused."""
    host, bundle, code = visit.subject.host, visit.route.ca_bundle, error.verify_code
    if code in (_EXPIRED, _NOT_YET_VALID) and certificate is not None:
        ended = code == _EXPIRED
        when = certificate.not_after if ended else certificate.not_before
        if (when.timestamp() <= visit.clock.time()) is not ended:
            return failure(
                "the server's own certificate is in its time, and one that it was issued by "
                f"{'has ended' if ended else 'has not begun'}",
                "have the server's operator renew what it sends along; or renew the CAs here: "
                f"{bundle}",
            )
        return failure(
            f"the certificate {'ended' if ended else 'begins'} on {when:%Y-%m-%d %H:%M} UTC",
            "have the server's operator renew it; or set this machine's clock, if that is wrong",
        )
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return failure(
            f"the certificate is not for {host}",
            "check the host in the URL, and what stands between here and there",
        )
    if code == _SELF_SIGNED:
        return failure(
            "the certificate is self-signed, and not among our CAs",
            f"set verify or REQUESTS_CA_BUNDLE to a file that holds it; now it is {bundle}",
        )
    if code in (_SELF_SIGNED_IN_CHAIN, _NO_ISSUER, _NO_FIRST_ISSUER):
        return failure(
            "the certificate was issued by a CA that we do not know",
            "set verify or REQUESTS_CA_BUNDLE to a file that holds this CA; now it is "
            f"{bundle}. A server may also have left out an intermediate certificate",
        )
    return failure(
        f"the certificate was not accepted ({error.verify_message})",
        "show this to the server's operator",
    )


def no_handshake(error: Exception, visit: Visit) -> Finding:
    """Return why there was no handshake, other than for a certificate."""
    reason = getattr(error, "reason", None) or ""
    if isinstance(error, TimeoutError):
        return failure(
            f"no handshake within {visit.timeout:g} s",
            "look at what stands between: a firewall that lets TCP pass and nothing else, perhaps",
        )
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return failure(
            f"port {visit.subject.port} of {visit.subject.host} does not speak TLS",
            "check the port in the URL",
        )
    if "CERTIFICATE_REQUIRED" in reason or "BAD_CERTIFICATE" in reason:
        return failure(
            "TLS certificate required: the server wants one from this client",
            CODES["client_certificate_required"].advice,
        )
    if "PROTOCOL" in reason or "VERSION" in reason:
        return failure(
            f"no version of TLS in common ({reason})",
            "the server has to speak TLS 1.2 or 1.3: ask its operator",
        )
    if "HANDSHAKE_FAILURE" in reason or "CIPHER" in reason:
        return failure(
            f"no parameters of TLS in common ({reason})",
            "ask the server's operator which ciphers it wants, or whether it wants a certificate "
            "of ours",
        )
    if isinstance(error, ssl.SSLError) and "EOF" not in reason:
        problem = reason or type(error).__name__
        return failure(f"the handshake failed ({problem})", "ask the server's operator")
    return failure(
        "the connection was closed in the handshake",
        "look at what stands between: a firewall or a proxy that wants no such host, perhaps",
    )


def no_tunnel(status: int | None) -> Finding:
    """Return what the *status* of a proxy's answer means; ``None`` for no answer."""
    if status == 407:
        return failure("the proxy wants credentials", "set them: http://user:password@host:port")
    if status is not None:
        return failure(
            f"the proxy does not let us through to the server (HTTP {status})",
            "have the host permitted at the proxy, or name it in NO_PROXY",
        )
    return failure(
        "the proxy broke off the connection",
        "check that its URL names an HTTP proxy",
    )


def bad_bundle(route: Route, error: OSError) -> Finding:
    """Return why the CAs could not be loaded."""
    there = not isinstance(error, FileNotFoundError)
    problem = "holds no CA certificate" if there else "is not there"
    return failure(
        f"the file of CA certificates {problem}: {route.ca_bundle}, from {route.ca_named_by}",
        f"correct {route.ca_named_by}",
    )
