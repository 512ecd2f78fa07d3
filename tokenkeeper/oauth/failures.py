"""Why there was no answer, and what to do: the many errors of the network in plain words."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.words import tame

__all__ = ["TooLongError", "explain"]


_LATE_HANDSHAKE = "The handshake operation timed out"
"""OpenSSL's words; urllib3 takes it for a read, and gives it the time of a connection."""


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
    family = list(_family(error))
    problem, transient = _diagnose(error, family, connecting, reading)
    host = tame(url.partition("://")[2].partition("/")[0].partition("?")[0])
    ours = TokenAcquisitionError(
        f"provider {provider_name!r}: no token: no answer from {host}: {problem}",
        provider_name=provider_name,
        transient=transient,
    )
    ours.__cause__ = next((root for root in reversed(family) if _is_root(root)), None)
    if ours.__cause__ is not None:
        ours.__cause__.__traceback__ = None  # its frames hold the request, and with it the secret
    return ours


def _family(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all errors that it stems from, the innermost last."""
    queue, seen = [error], set()
    while queue:
        each = queue.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        near = (getattr(each, "reason", None), *each.args, each.__cause__, each.__context__)
        queue += [one for one in near if isinstance(one, BaseException)]


def _is_root(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)


def _diagnose(
    error: Exception, family: list[BaseException], connecting: str, reading: str
) -> tuple[str, bool]:
    """Return what happened with what to do, and whether it may pass."""

    def find(*kinds: type[BaseException]) -> BaseException | None:
        return next((each for each in family if isinstance(each, kinds)), None)

    if isinstance(error, TooLongError):
        return "it is longer than 1 MiB: check the URL", False
    text = " ".join(str(each) for each in family)
    if find(requests.exceptions.ProxyError, urllib3.exceptions.ProxyError):
        if " 407 " in text:
            return "the proxy wants credentials: set them in HTTPS_PROXY", False
        return "the proxy failed: check HTTPS_PROXY and NO_PROXY", True
    if refused := find(ssl.SSLCertVerificationError):
        reason = getattr(refused, "verify_message", "") or "it could not be verified"
        return (
            f"TLS: the certificate was not accepted ({tame(reason)}): {_tls_advice(reason)}",
            False,
        )
    if isinstance(broken := find(ssl.SSLError), ssl.SSLError) and broken.library in ("X509", "PEM"):
        return (
            "TLS: the file of CA certificates holds none: check verify, REQUESTS_CA_BUNDLE",
            False,
        )
    if find(ssl.SSLError, requests.exceptions.SSLError, urllib3.exceptions.SSLError):
        return "TLS failed: check that the port speaks TLS, and what stands between", True
    if find(socket.gaierror, urllib3.exceptions.NameResolutionError):
        return "DNS: the name could not be resolved: check the URL and the resolver", True
    if find(ConnectionRefusedError):
        return "the connection was refused: check host and port, and that the server runs", True
    if find(requests.ConnectTimeout):
        return f"no connection in time ({connecting}): check network, firewall and proxy", True
    if find(urllib3.exceptions.NewConnectionError):
        return "no connection: check network, firewall and proxy", True
    if find(requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError):
        limit = connecting if _LATE_HANDSHAKE in text else reading
        return f"it did not come in time ({limit}): if it lasts, allow more", True
    if find(requests.exceptions.ContentDecodingError, urllib3.exceptions.DecodeError):
        return "it could not be decompressed: the server or a proxy garbles it", False
    if find(requests.ConnectionError, urllib3.exceptions.ProtocolError, ConnectionError):
        return (
            "the connection broke off: if it lasts, look at the server and what stands between",
            True,
        )
    if type(error) is OSError:  # what requests raises for a CA file that is not there
        return (
            "TLS: the file of CA certificates was not found: check verify, REQUESTS_CA_BUNDLE",
            False,
        )
    return f"the request failed ({type(error).__name__}): check the URL and the network", False


def _tls_advice(reason: str) -> str:
    if "expired" in reason or "not yet valid" in reason:
        return "check the server's certificate, and this machine's clock"
    if "ostname" in reason or "IP address" in reason:
        return "check the host in the URL"
    return "set verify or REQUESTS_CA_BUNDLE to the CA that signed it"
