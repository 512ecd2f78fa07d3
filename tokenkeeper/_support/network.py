"""Classifies network errors into a few reasons to count by. Loads no HTTP library."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["NETWORK_REASONS", "error_chain", "network_reason"]

NETWORK_REASONS = (
    "dns",
    "tls",
    "proxy",
    "timeout",
    "connection_refused",
    "connection_broken",
    "unreachable",
    "bad_answer",
)
"""The reasons: the name could not be resolved, TLS failed, the proxy failed, a timeout, nothing
listens on the port, the connection ended early, no connection for another reason, and an unreadable
response."""

# By the names of classes, as the libraries that define them may not be loaded. The first row that
# matches any error of the chain applies: each library wraps the errors of the one below it.
_BY_CLASS = (
    ("proxy", ("ProxyError", "ProxyConnectionError", "ClientProxyConnectionError")),
    ("dns", ("gaierror", "herror", "NameResolutionError", "ClientConnectorDNSError")),
    ("tls", ("SSLError", "CertificateError", "ClientSSLError", "ClientConnectorCertificateError")),
    ("connection_refused", ("ConnectionRefusedError",)),
    ("timeout", ("TimeoutError", "Timeout", "TimeoutException", "HTTPTimeoutError")),
    ("unreachable", ("NewConnectionError", "ConnectError", "ClientConnectorError")),
    (
        "connection_broken",
        (
            "ConnectionError",
            "ProtocolError",
            "NetworkError",
            "RemoteProtocolError",
            "IncompleteRead",
            "RemoteDisconnected",
            "ServerDisconnectedError",
            "ServiceResponseError",
        ),
    ),
    ("unreachable", ("ServiceRequestError", "TransportError")),
    ("bad_answer", ("DecodeError", "ContentDecodingError", "TooLongError")),
)
_UNREACHABLE = ("No route to host", "Network is unreachable", "Host is down")


def network_reason(error: BaseException) -> str | None:
    """Return the reason, one of :data:`NETWORK_REASONS`, or ``None`` for other errors."""
    names: set[str] = set()
    words = ""
    for each in error_chain(error):
        names |= {kind.__name__ for kind in type(each).__mro__}
        words += str(getattr(each, "strerror", None) or "")
    if any(phrase in words for phrase in _UNREACHABLE):
        return "unreachable"
    return next((reason for reason, kinds in _BY_CLASS if names.intersection(kinds)), None)


def error_chain(error: BaseException) -> Iterator[BaseException]:
    """Yield *error* and all errors that caused it, the innermost last."""
    queue, seen = [error], set()
    while queue:
        each = queue.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        linked = (getattr(each, "reason", None), *each.args, each.__cause__, each.__context__)
        queue += [one for one in linked if isinstance(one, BaseException)]
