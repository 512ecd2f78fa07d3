"""The client's own certificate for mutual TLS: whether it can be used, and until when."""

from __future__ import annotations

from tokenkeeper.doctor.certificate import read_certificate
from tokenkeeper.doctor.examination import Examination
from tokenkeeper.doctor.findings import Finding, failure, ok, warning
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.certificate_files import CertificateFiles
from tokenkeeper.oauth.client_proof import ClientCertificate

__all__ = ["check_client_certificate"]


def check_client_certificate(examination: Examination) -> tuple[Finding, ...]:
    """Read the certificate that the client presents, if it has one, and return the findings."""
    files = examination.facts.certificate_files
    if files is None:
        return ()
    try:
        pair = CertificateFiles(*files).current()
    except TokenAcquisitionError as error:
        advice = "correct the files of the client certificate, or the program that renews them"
        return (failure(f"client certificate: {error}", advice),)
    examination.certificate = ClientCertificate(pair)
    now = examination.clock.time()
    certificate = read_certificate(pair.der)
    if certificate is None:  # it was read before, so this is a certificate without a usual form
        return (ok(f"client certificate {files[0]}"),)
    text = f"client certificate {files[0]}: {certificate.subject}, {certificate.dates(now)}"
    if certificate.expires_soon(now):
        return (warning(text, "renew it; the files are read again for each request"),)
    return (ok(text),)
