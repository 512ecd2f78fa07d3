"""TLS: whom we speak to, until when that can be proved, and what is wrong where it can't."""

from __future__ import annotations

import http.client
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from urllib3.util import create_urllib3_context, make_headers

from tokenkeeper.doctor.certificate import Certificate, read_certificate
from tokenkeeper.doctor.findings import Finding, Report, Step, note, ok, skipped, warning
from tokenkeeper.doctor.route import Route
from tokenkeeper.doctor.tls_words import bad_bundle, no_handshake, no_tunnel, not_verified
from tokenkeeper.doctor.visit import Visit

__all__ = ["SOON_DAYS", "look_at_tls"]

SOON_DAYS = 14
"""A certificate that ends within so many days draws a warning."""

_DAY_SECONDS = 86400.0


class _NoTunnelError(Exception):
    """The proxy did not let us through."""


def look_at_tls(visit: Visit) -> Report:
    """Shake hands as the transport does, and tell what the server's certificate says."""
    subject, route = visit.subject, visit.route
    if not subject.secure:
        return Report(Step.TLS, (skipped("none: plain http, which is allowed on loopback"),))
    facts: dict[str, Any] = {"ca_bundle": route.ca_bundle, "ca_named_by": route.ca_named_by}
    if route.proxy is not None and not route.tunnels:
        finding = note(f"by way of {route.proxy} it is left to the request for the metadata")
        return Report(Step.TLS, (finding,), facts)
    try:
        context = _context(route)
    except (OSError, ssl.SSLError) as error:
        return Report(Step.TLS, (bad_bundle(route, error),), facts)
    try:
        with _shake_hands(visit, context) as connection:
            certificate = read_certificate(connection.getpeercert(binary_form=True))
            version = connection.version()
    except _NoTunnelError as refused:
        return Report(Step.TLS, (no_tunnel(str(refused)),), facts)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        return _failed(visit, error, facts)
    facts |= {"version": version, **(certificate.facts if certificate else {})}
    findings = [ok(f"{version}, {_authorities(route)}")]
    if route.ca_bundle is None:
        advice = "do that in tests alone: anybody on the way can read the secret"
        findings = [warning(f"{version}, and the certificate is not verified", advice)]
    if certificate is not None:
        findings += [_dates(certificate, visit.clock.time()), _names(certificate)]
    return Report(Step.TLS, tuple(findings), facts)


def _context(route: Route) -> ssl.SSLContext:
    """Return what urllib3 would use for this route."""
    context = create_urllib3_context()
    if route.ca_bundle is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif Path(route.ca_bundle).is_dir():
        context.load_verify_locations(capath=route.ca_bundle)
    else:
        context.load_verify_locations(cafile=route.ca_bundle)
    return context


def _shake_hands(visit: Visit, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = _tunnel(visit) if visit.route.proxy else _direct(visit)
    try:
        return context.wrap_socket(plain, server_hostname=visit.subject.host)
    except BaseException:
        plain.close()
        raise


def _direct(visit: Visit) -> socket.socket:
    return socket.create_connection((visit.address, visit.subject.port), visit.timeout)


def _tunnel(visit: Visit) -> socket.socket:
    """Return a connection to the server through the proxy (CONNECT, RFC 9110 §9.3.6)."""
    _, port = visit.first_stop
    connection = http.client.HTTPConnection(visit.address, port, timeout=visit.timeout)
    headers: dict[str, str] = {}
    if visit.route.credentials:
        headers = dict(make_headers(proxy_basic_auth=":".join(visit.route.credentials)))
    connection.set_tunnel(visit.subject.host, visit.subject.port, headers)
    try:
        connection.connect()
    except TimeoutError:
        raise
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _NoTunnelError(str(error)) from None
    assert connection.sock is not None  # noqa: S101 - for the type checker: connect() set it
    return connection.sock


def _failed(visit: Visit, error: Exception, facts: dict[str, Any]) -> Report:
    certificate = None
    if isinstance(error, ssl.SSLCertVerificationError):
        certificate = _unverified(visit)
        facts |= certificate.facts if certificate else {}
        facts["verify_code"] = error.verify_code
        findings = [not_verified(error, certificate, visit)]
    else:
        findings = [no_handshake(error, visit)]
    if certificate is not None:
        findings.append(_names(certificate))
    return Report(Step.TLS, tuple(findings), facts)


def _unverified(visit: Visit) -> Certificate | None:
    """Fetch the certificate that was refused, to tell of it; nothing is sent to its owner."""
    context = create_urllib3_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, ValueError, _NoTunnelError), _shake_hands(visit, context) as connection:
        return read_certificate(connection.getpeercert(binary_form=True))
    return None


def _authorities(route: Route) -> str:
    return f"verified by {route.ca_bundle} ({route.ca_named_by})"


def _names(certificate: Certificate) -> Finding:
    most = ", ".join(certificate.hosts[:5])
    more = f" and {len(certificate.hosts) - 5} more" if len(certificate.hosts) > 5 else ""
    hosts = f", for {most}{more}" if most else ""
    return ok(f"subject {certificate.subject}{hosts}; issuer {certificate.issuer}")


def _dates(certificate: Certificate, now: float) -> Finding:
    left = certificate.seconds_left(now)
    began, ends = f"{certificate.not_before:%Y-%m-%d}", f"{certificate.not_after:%Y-%m-%d %H:%M}"
    rest = f"{_span(left)} left" if left >= 0 else f"ended {_span(-left)} ago"
    text = f"certificate from {began} to {ends} UTC, {rest}"
    if left < SOON_DAYS * _DAY_SECONDS:
        return warning(text, "have the server's operator renew it")
    return ok(text)


def _span(seconds: float) -> str:
    """Return a length of time in whole days, or in hours where each of them counts."""
    days = int(seconds / _DAY_SECONDS)
    return f"{days} days" if days >= 2 else f"{int(seconds / 3600)} hours"
