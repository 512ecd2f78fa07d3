"""Turns the many errors of the network into one error that says what happened and what to do."""

from __future__ import annotations

import re
import socket
import ssl
from typing import NamedTuple

import requests
import urllib3.exceptions

from tokenkeeper._support.network import error_chain, network_reason
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.client_proof import ClientCertificate
from tokenkeeper.oauth.client_tls import OwnContextError
from tokenkeeper.oauth.error_codes import CODES
from tokenkeeper.oauth.key_pair import CertificateFileError
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.tls_alerts import rejected_certificate

__all__ = ["TooLongError", "explain"]


class TooLongError(Exception):
    """The response's body is longer than the limit."""


class _Diagnosis(NamedTuple):
    """What happened and what to do, as two sentences without their full stops."""

    problem: str
    advice: str
    transient: bool
    reason: str | None

    def with_limits(self, connecting: str, reading: str) -> _Diagnosis:
        """Return the diagnosis with the timeouts in place of their placeholders."""
        problem = self.problem.format(connecting=connecting, reading=reading)
        return self._replace(problem=problem)


_CHECK_NETWORK = "Check network, firewall and proxy"
_CHECK_TIMEOUT = "If this persists, increase the timeout"
_CHECK_BUNDLE = "Check verify and REQUESTS_CA_BUNDLE"

_TOO_LONG = _Diagnosis("the response is longer than 1 MiB", "Check the URL", False, "bad_answer")
_PROXY_FAILED = _Diagnosis("the proxy failed", "Check HTTPS_PROXY and NO_PROXY", True, "proxy")
_PROXY_LOGIN = _Diagnosis(
    "the proxy requires credentials", "Set them in HTTPS_PROXY", False, "proxy"
)
_NO_CA_FILE = _Diagnosis("TLS: the CA certificate file was not found", _CHECK_BUNDLE, False, "tls")
_EMPTY_CA_FILE = _Diagnosis(
    "TLS: the CA certificate file contains no certificates", _CHECK_BUNDLE, False, "tls"
)
_CLIENT_CERTIFICATE = _Diagnosis(
    "TLS: client certificate required",
    CODES["client_certificate_required"].advice.rstrip("."),
    CODES["client_certificate_required"].transient,
    "tls",
)
_OWN_CONTEXT = _Diagnosis(
    "the adapter of session= has an ssl_context, which would present this client's certificate to "
    "others as well",
    "Use a session without one, or load the certificate into it and set "
    'token_endpoint_auth_method="none" instead of TlsClientAuth',
    False,
    "tls",
)
_TLS_FAILED = _Diagnosis(
    "TLS failed", "Check that the port speaks TLS, and any proxy in front of it", True, "tls"
)
_TLS_ENDED = _Diagnosis(
    "TLS failed: the server ended the handshake",
    "Check whether it requires a certificate from this client, and any proxy in front of it",
    True,
    "tls",
)

_LATE_HANDSHAKE = _Diagnosis(
    "the TLS handshake timed out ({connecting})", _CHECK_TIMEOUT, True, "timeout"
)

_PROXY_ERRORS = (requests.exceptions.ProxyError, urllib3.exceptions.ProxyError)
_TLS_ERRORS = (ssl.SSLError, requests.exceptions.SSLError, urllib3.exceptions.SSLError)

_BY_KIND: tuple[tuple[tuple[type[BaseException], ...], _Diagnosis], ...] = (
    (
        (socket.gaierror, urllib3.exceptions.NameResolutionError),
        _Diagnosis(
            "DNS: the name could not be resolved", "Check the URL and the resolver", True, "dns"
        ),
    ),
    (
        (ConnectionRefusedError,),
        _Diagnosis(
            "the connection was refused",
            "Check host and port, and that the server is running",
            True,
            "connection_refused",
        ),
    ),
    (
        (requests.ConnectTimeout,),
        _Diagnosis("the connection timed out ({connecting})", _CHECK_NETWORK, True, "timeout"),
    ),
    (
        (urllib3.exceptions.NewConnectionError,),
        _Diagnosis("could not connect", _CHECK_NETWORK, True, "unreachable"),
    ),
    (
        (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError),
        _Diagnosis(
            "the response timed out ({reading})",
            _CHECK_TIMEOUT,
            True,
            "timeout",
        ),
    ),
    (
        (requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError),
        _Diagnosis(
            "the response could not be decompressed",
            "Check the server and the proxy",
            False,
            "bad_answer",
        ),
    ),
    (
        (requests.ConnectionError, urllib3.exceptions.ProtocolError, ConnectionError),
        _Diagnosis(
            "the connection was interrupted",
            "If this persists, check the server and any proxy in front of it",
            True,
            "connection_broken",
        ),
    ),
)
"""By the classes of the errors; the first row that matches any error of the chain applies."""

_HANDSHAKE_TIMEOUT = "The handshake operation timed out"
"""OpenSSL's text. urllib3 reports it as a read timeout, but the connect timeout applied."""

# The alert of TLS 1.3 (RFC 8446 §6.2), what older servers send, and OpenSSL's own texts.
_WANTS_CERTIFICATE = (
    r"certificate[_ ]required|alert[_ ]bad[_ ]certificate|no[_ ]certificate[_ ]returned"
    r"|did not return a certificate"
)

_ENDED = r"EOF occurred in violation of protocol|UNEXPECTED_EOF|alert[ _]handshake[ _]failure"


def explain(
    error: Exception,
    url: str,
    provider_name: str,
    *,
    connecting: str,
    reading: str,
    certificate: ClientCertificate | None = None,
) -> TokenAcquisitionError:
    """Return the error to raise for *error*, which a request to *url* raised.

    The text of *error* is left out, as it may contain the URL's query. The operating system's own
    error behind it becomes the cause.

    :param connecting: the timeout that applied while connecting, for the message.
    :param reading: the timeout that applied while reading the response, for the message.
    :param certificate: the certificate that the client presented; none by default.
    """
    chain = list(error_chain(error))
    diagnosis = _diagnose(error, chain, connecting, reading)
    if certificate is not None:
        diagnosis = _with_certificate(diagnosis, chain, certificate.file)
    host = sanitize(url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2])
    explained = TokenAcquisitionError(
        f"provider {provider_name!r}: request to {host} failed: {diagnosis.problem}. "
        f"{diagnosis.advice}.",
        provider_name=provider_name,
        transient=diagnosis.transient,
        network_reason=diagnosis.reason,
    )
    explained.__cause__ = next((each for each in reversed(chain) if _is_system_error(each)), None)
    if explained.__cause__ is not None:
        # The traceback's frames hold the request, and with it the secret.
        explained.__cause__.__traceback__ = None
    return explained


def _is_system_error(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _diagnose(
    error: Exception, chain: list[BaseException], connecting: str, reading: str
) -> _Diagnosis:
    if isinstance(error, TooLongError):
        return _TOO_LONG
    if isinstance(error, OwnContextError):
        return _OWN_CONTEXT
    if isinstance(error, CertificateFileError):
        return _Diagnosis(str(error), "Check both files", error.transient, "tls")
    text = " ".join(str(each) for each in chain)
    if _find(chain, *_PROXY_ERRORS):
        return _PROXY_LOGIN if " 407 " in text else _PROXY_FAILED
    if _find(chain, *_TLS_ERRORS):
        return _diagnose_tls(chain, text)
    if _HANDSHAKE_TIMEOUT in text:
        return _LATE_HANDSHAKE.with_limits(connecting, reading)
    for kinds, diagnosis in _BY_KIND:
        if _find(chain, *kinds):
            return diagnosis.with_limits(connecting, reading)
    if type(error) is OSError:  # requests raises it for a CA file that does not exist
        return _NO_CA_FILE
    problem = f"the request raised {type(error).__name__}"
    return _Diagnosis(problem, "Check the URL and the network", False, network_reason(error))


def _diagnose_tls(chain: list[BaseException], text: str) -> _Diagnosis:
    rejected = _find(chain, ssl.SSLCertVerificationError)
    if rejected is not None:
        reason = getattr(rejected, "verify_message", "") or "it could not be verified"
        problem = f"TLS: the certificate was not accepted ({sanitize(reason)})"
        return _Diagnosis(problem, _certificate_advice(reason), False, "tls")
    if getattr(_find(chain, ssl.SSLError), "library", None) in ("X509", "PEM"):
        return _EMPTY_CA_FILE
    if re.search(_WANTS_CERTIFICATE, text, re.I):
        return _CLIENT_CERTIFICATE
    return _TLS_ENDED if re.search(_ENDED, text, re.I) else _TLS_FAILED


def _with_certificate(diagnosis: _Diagnosis, chain: list[BaseException], file: str) -> _Diagnosis:
    """Return *diagnosis* with what it means for a client that presented a certificate."""
    if _find(chain, *_TLS_ERRORS) and not _find(chain, ssl.SSLCertVerificationError):
        rejected = rejected_certificate(" ".join(str(each) for each in chain), file)
        if rejected is not None:
            return _Diagnosis(f"TLS: {rejected.problem}", rejected.advice, False, "tls")
    # Some servers, such as those on Node, close the connection without an alert.
    if diagnosis.reason == "connection_broken" or diagnosis is _TLS_ENDED:
        advice = f"Check whether the server accepts the certificate in {file}. {diagnosis.advice}"
        return diagnosis._replace(advice=advice)
    return diagnosis


def _certificate_advice(reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return "Check the server's certificate, and this machine's clock"
    if "ostname" in reason or "IP address" in reason:
        return "Check the host in the URL"
    return "Set verify or REQUESTS_CA_BUNDLE to the CA that signed it"


def _find(chain: list[BaseException], *kinds: type[BaseException]) -> BaseException | None:
    """Return the first error of *chain* that is one of *kinds*, or ``None``."""
    return next((each for each in chain if isinstance(each, kinds)), None)
