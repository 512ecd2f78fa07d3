"""Why a server could not be reached, in one word to count by. Loads no HTTP library."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["NETWORK_REASONS", "family_of", "network_reason"]

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
"""All the words there are: the name could not be resolved, TLS failed, the proxy failed, it took
too long, nobody listens there, the connection ended early, no connection could be made for another
reason, and what came back could not be read."""

# By the names of classes, as the libraries that define them may not be loaded. The first row that
# any error of the family is in counts: each library wraps the errors of the one below it.
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
    """Return why there was no answer, one of :data:`NETWORK_REASONS`; ``None`` for other errors."""
    names: set[str] = set()
    words = ""
    for each in family_of(error):
        names |= {kind.__name__ for kind in type(each).__mro__}
        words += str(getattr(each, "strerror", None) or "")
    if any(phrase in words for phrase in _UNREACHABLE):
        return "unreachable"
    return next((reason for reason, kinds in _BY_CLASS if names.intersection(kinds)), None)


def family_of(error: BaseException) -> Iterator[BaseException]:
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
