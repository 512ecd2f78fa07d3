"""Why there was no answer, and what to do: the many errors of the network in plain words."""

from __future__ import annotations

import re
import socket
import ssl
from typing import NamedTuple

import requests
import urllib3.exceptions

from tokenkeeper._support.network import family_of, network_reason
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.verdict import CODES

__all__ = ["TooLongError", "explain"]


_LATE_HANDSHAKE = "The handshake operation timed out"
"""OpenSSL's words; urllib3 takes it for a read, and gives it the time of a connection."""


# The alert of TLS 1.3 (RFC 8446 §6.2), what servers before it sent, and the words of OpenSSL.
_WANTS_CERTIFICATE = re.compile(
    r"certificate[_ ]required|alert[_ ]bad[_ ]certificate|no[_ ]certificate[_ ]returned"
    r"|did not return a certificate",
    re.I,
)
_CHECK_BUNDLE = "Check verify and REQUESTS_CA_BUNDLE"


class TooLongError(Exception):
    """The body goes on beyond what is read."""


def explain(
    error: Exception, url: str, provider_name: str, *, connecting: str, reading: str
) -> TokenAcquisitionError:
    """Return what *error*, raised by a request to *url*, means to the caller.

    :param connecting: which timeout ended the request, if one did before there was a connection.
    :param reading: the same for afterwards.

    Its text is left out, as it may hold the URL's query; the operating system's own error behind
    it becomes the cause.
    """
    family = list(family_of(error))
    problem, advice, transient, reason = _diagnose(error, family, connecting, reading)
    host = sanitize(url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2])
    ours = TokenAcquisitionError(
        f"provider {provider_name!r}: no answer from {host}: {problem}. {advice}.",
        provider_name=provider_name,
        transient=transient,
        network_reason=reason,
    )
    ours.__cause__ = next((root for root in reversed(family) if _is_root(root)), None)
    if ours.__cause__ is not None:
        ours.__cause__.__traceback__ = None  # its frames hold the request, and with it the secret
    return ours


def _is_root(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


class _Diagnosis(NamedTuple):
    problem: str
    advice: str
    transient: bool
    reason: str | None


def _diagnose(
    error: Exception, family: list[BaseException], connecting: str, reading: str
) -> _Diagnosis:
    """Return what happened with what to do, and whether it may pass."""

    def find(*kinds: type[BaseException]) -> BaseException | None:
        return next((each for each in family if isinstance(each, kinds)), None)

    if isinstance(error, TooLongError):
        return _Diagnosis("it is longer than 1 MiB", "Check the URL", False, "bad_answer")
    text = " ".join(str(each) for each in family)
    if find(requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
        if " 407 " in text:
            return _Diagnosis(
                "the proxy wants credentials", "Set them in HTTPS_PROXY", False, "proxy"
            )
        return _Diagnosis("the proxy failed", "Check HTTPS_PROXY and NO_PROXY", True, "proxy")
    if find(ssl.SSLError, requests.exceptions.SSLError, urllib3.exceptions.SSLError):
        return _diagnose_tls(find(ssl.SSLCertVerificationError), find(ssl.SSLError), text)
    if find(socket.gaierror, urllib3.exceptions.NameResolutionError):
        return _Diagnosis(
            "DNS: the name could not be resolved", "Check the URL and the resolver", True, "dns"
        )
    if find(ConnectionRefusedError):
        return _Diagnosis(
            "the connection was refused",
            "Check host and port, and that the server runs",
            True,
            "connection_refused",
        )
    if find(requests.ConnectTimeout):
        return _Diagnosis(
            f"no connection in time ({connecting})",
            "Check network, firewall and proxy",
            True,
            "timeout",
        )
    if find(urllib3.exceptions.NewConnectionError):
        return _Diagnosis("no connection", "Check network, firewall and proxy", True, "unreachable")
    if find(requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        limit = connecting if _LATE_HANDSHAKE in text else reading
        return _Diagnosis(
            f"it did not come in time ({limit})", "If this persists, allow more", True, "timeout"
        )
    if find(requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError):
        return _Diagnosis(
            "it could not be decompressed", "Check the server and the proxy", False, "bad_answer"
        )
    if find(requests.ConnectionError, urllib3.exceptions.ProtocolError, ConnectionError):
        return _Diagnosis(
            "the connection broke off",
            "If this persists, check the server, and the proxies before it",
            True,
            "connection_broken",
        )
    if type(error) is OSError:  # what requests raises for a CA file that is not there
        return _Diagnosis(
            "TLS: the file of CA certificates was not found", _CHECK_BUNDLE, False, "tls"
        )
    return _Diagnosis(
        f"the request failed ({type(error).__name__})",
        "Check the URL and the network",
        False,
        network_reason(error),
    )


def _diagnose_tls(
    refused: BaseException | None, broken: BaseException | None, text: str
) -> _Diagnosis:
    if refused is not None:
        reason = getattr(refused, "verify_message", "") or "it could not be verified"
        problem = f"TLS: the certificate was not accepted ({sanitize(reason)})"
        return _Diagnosis(problem, _tls_advice(reason), False, "tls")
    if getattr(broken, "library", None) in ("X509", "PEM"):
        return _Diagnosis(
            "TLS: the file of CA certificates holds none", _CHECK_BUNDLE, False, "tls"
        )
    if _WANTS_CERTIFICATE.search(text):
        meaning = CODES["client_certificate_required"]
        wants = "TLS: certificate required: the server wants one from this client"
        return _Diagnosis(wants, meaning.advice.rstrip("."), meaning.transient, "tls")
    return _Diagnosis(
        "TLS failed", "Check that the port speaks TLS, and what is before it", True, "tls"
    )


def _tls_advice(reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return "Check the server's certificate, and this machine's clock"
    if "ostname" in reason or "IP address" in reason:
        return "Check the host in the URL"
    return "Set verify or REQUESTS_CA_BUNDLE to the CA that signed it"
