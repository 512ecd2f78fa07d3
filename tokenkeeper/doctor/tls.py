"""TLS: whom we speak to, until when that can be proved, and what is wrong where it can't."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from urllib3.util import create_urllib3_context

from tokenkeeper.doctor.certificate import Certificate, read_certificate
from tokenkeeper.doctor.examination import Visit
from tokenkeeper.doctor.findings import Finding, Report, Step, note, ok, skipped, warning
from tokenkeeper.doctor.route import Route
from tokenkeeper.doctor.tls_failures import bad_bundle, no_handshake, no_tunnel, not_verified
from tokenkeeper.doctor.tunnel import Deadline, NoTunnelError, open_tunnel, shake_hands

__all__ = ["SOON_DAYS", "look_at_tls"]

SOON_DAYS = 14
"""A certificate that ends within so many days draws a warning."""

_DAY_SECONDS = 86400.0


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
    deadline = Deadline(visit.clock, visit.timeout)
    try:
        with _connected(visit, context, deadline) as connection:
            certificate = read_certificate(connection.getpeercert(binary_form=True))
            version = connection.version()
    except NoTunnelError as refused:
        return Report(Step.TLS, (no_tunnel(refused.status),), facts)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        return _failed(visit, error, facts, deadline)
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


def _connected(visit: Visit, context: ssl.SSLContext, deadline: Deadline) -> ssl.SSLSocket:
    """Return a connection to the server, by way of the proxy if there is one."""
    host, port = visit.subject.host, visit.subject.port
    _, first_port = visit.first_stop
    plain = socket.create_connection((visit.address, first_port), deadline.left())
    try:
        if visit.route.proxy:
            open_tunnel(plain, host, port, visit.route.credentials, deadline)
        # The root of all names is no part of a certificate, and urllib3 leaves its dot out.
        return shake_hands(plain, context, host.rstrip("."), deadline)
    except BaseException:
        plain.close()
        raise


def _failed(visit: Visit, error: Exception, facts: dict[str, Any], deadline: Deadline) -> Report:
    certificate = None
    if isinstance(error, ssl.SSLCertVerificationError):
        certificate = _unverified(visit, deadline)
        facts |= certificate.facts if certificate else {}
        facts["verify_code"] = error.verify_code
        findings = [not_verified(error, certificate, visit)]
    else:
        findings = [no_handshake(error, visit)]
    if certificate is not None:
        findings.append(_names(certificate))
    return Report(Step.TLS, tuple(findings), facts)


def _unverified(visit: Visit, deadline: Deadline) -> Certificate | None:
    """Fetch the certificate that was refused, to tell of it; nothing is sent to its owner."""
    context = create_urllib3_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        suppress(OSError, ValueError, NoTunnelError),
        _connected(visit, context, deadline) as connection,
    ):
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
