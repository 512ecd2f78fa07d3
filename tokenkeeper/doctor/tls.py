"""TLS: whether a handshake succeeds, and what the server's certificate contains."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

from urllib3.util import create_urllib3_context

from tokenkeeper.doctor.certificate import Certificate, read_certificate
from tokenkeeper.doctor.client_certificate import check_client_certificate
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Finding, Report, Step, note, ok, skipped, warning
from tokenkeeper.doctor.route import Route
from tokenkeeper.doctor.tls_failures import bad_bundle, no_handshake, no_tunnel, not_verified
from tokenkeeper.doctor.tunnel import Deadline, NoTunnelError, open_tunnel, shake_hands

__all__ = ["check_tls"]


def check_tls(examination: Examination) -> Report:
    """Make a TLS handshake as the transport does, and report both certificates."""
    route = examination.route
    if not examination.facts.secure:
        return Report(Step.TLS, (skipped("not used: plain http, which is allowed on loopback"),))
    measured: dict[str, Any] = {"ca_bundle": route.ca_bundle, "ca_named_by": route.ca_named_by}
    own = check_client_certificate(examination)
    if own and examination.certificate is None:
        return Report(Step.TLS, own, measured)
    if examination.certificate is not None:
        expires = examination.certificate.pair.not_after
        measured["client_certificate_expires"] = expires.isoformat()
    if route.proxy is not None and not route.tunnels:
        finding = note(f"not tried through {route.proxy}; the request for the metadata does")
        return Report(Step.TLS, (finding, *own), measured)
    try:
        context = _context(route)
    except (OSError, ssl.SSLError) as error:
        return Report(Step.TLS, (bad_bundle(route, error),), measured)
    if examination.certificate is not None:
        examination.certificate.pair.load_into(context)
    deadline = Deadline(examination.clock, examination.timeout)
    try:
        with _connected(examination, context, deadline) as connection:
            certificate = read_certificate(connection.getpeercert(binary_form=True))
            version = connection.version()
    except NoTunnelError as refused:
        return Report(Step.TLS, (no_tunnel(refused.status),), measured)
    except (OSError, ValueError) as error:  # SSLError is an OSError
        return _failed(examination, error, measured, deadline)
    measured |= {"version": version, **(certificate.facts if certificate else {})}
    findings = [ok(f"{version}, {_authorities(route)}")]
    if route.ca_bundle is None:
        advice = "use verify: false in tests only: anyone on the network path can read the secret"
        findings = [warning(f"{version}, and the certificate is not verified", advice)]
    if certificate is not None:
        findings += [_dates(certificate, examination.clock.time()), _names(certificate)]
    return Report(Step.TLS, (*findings, *own), measured)


def _context(route: Route) -> ssl.SSLContext:
    """Return the TLS settings that urllib3 uses for *route*."""
    context = create_urllib3_context()
    if route.ca_bundle is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif Path(route.ca_bundle).is_dir():
        context.load_verify_locations(capath=route.ca_bundle)
    else:
        context.load_verify_locations(cafile=route.ca_bundle)
    return context


def _connected(
    examination: Examination, context: ssl.SSLContext, deadline: Deadline
) -> ssl.SSLSocket:
    """Return a TLS connection to the server, through the proxy if there is one."""
    host, port = examination.facts.host, examination.facts.port
    _, first_port = examination.first_stop
    plain = socket.create_connection((examination.address, first_port), deadline.left())
    try:
        if examination.route.proxy:
            open_tunnel(plain, host, port, examination.route.credentials, deadline)
        # Certificates name a host without the dot of the DNS root, and urllib3 removes it.
        return shake_hands(plain, context, host.rstrip("."), deadline)
    except BaseException:
        plain.close()
        raise


def _failed(
    examination: Examination, error: Exception, measured: dict[str, Any], deadline: Deadline
) -> Report:
    certificate = None
    if isinstance(error, ssl.SSLCertVerificationError):
        certificate = _unverified(examination, deadline)
        measured |= certificate.facts if certificate else {}
        measured["verify_code"] = error.verify_code
        findings = [not_verified(error, certificate, examination)]
    else:
        findings = [no_handshake(error, examination)]
    if certificate is not None:
        findings.append(_names(certificate))
    return Report(Step.TLS, tuple(findings), measured)


def _unverified(examination: Examination, deadline: Deadline) -> Certificate | None:
    """Return the certificate that was rejected, to report it. Nothing is sent to the server."""
    context = create_urllib3_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        suppress(OSError, ValueError, NoTunnelError),
        _connected(examination, context, deadline) as connection,
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
    text = f"certificate {certificate.dates(now)}"
    if certificate.expires_soon(now):
        return warning(text, "ask the server's operator to renew it")
    return ok(text)
