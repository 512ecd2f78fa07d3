"""The URL of a request as a DPoP proof states it: ``htu`` (RFC 9449 §4.2), and its origin."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, urlsplit

from tokenkeeper._runtime.fork import forks_wait

__all__ = ["Target", "target_of"]

_PORTS = {"https": 443, "http": 80}
_SCHEMES = {"https": "https", "wss": "https", "http": "http", "ws": "http"}
"""The scheme on the wire. A WebSocket opens with a request of HTTP (RFC 6455 §4)."""

_HOST = re.compile(r"[a-z0-9._~:%-]+")  # with IPv6, its zone, and percent-encoded names

_SAFE = "%/:@!$&'()*+,;=~"
"""What RFC 3986 §3.3 allows in a path beside letters, digits, and the ``-._~`` that quote keeps."""


class Target(NamedTuple):
    """Where a request goes.

    :ivar htu: the URL without query and fragment, and without a user's name.
    :ivar origin: scheme, host and port.
    """

    htu: str
    origin: str


@lru_cache(maxsize=256)
def target_of(url: str) -> Target:
    """Return where a request to *url* goes.

    Scheme and host are in lower case and a default port is left out, as servers compare after the
    same normalization (RFC 9449 §4.3, RFC 3986 §6.2.2).

    :raises ValueError: for a URL without a host, or of another scheme than http and https.
    """
    parts = urlsplit(url)
    scheme = _SCHEMES.get(parts.scheme)
    if scheme is None or not parts.hostname:
        raise ValueError("a DPoP proof needs an absolute http or https URL")
    host = parts.hostname
    if not host.isascii():
        host = _in_ascii(host)
    if not _HOST.fullmatch(host):
        raise ValueError("the URL has no valid host")
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in (None, _PORTS[scheme]) else f":{parts.port}"
    origin = f"{scheme}://{host}{port}"
    path = quote(parts.path, safe=_SAFE) or "/"
    path = re.sub("%[0-9a-f]{2}", lambda found: found[0].upper(), path, flags=re.IGNORECASE)
    return Target(origin + path, origin)


def _in_ascii(host: str) -> str:
    """Return *host* as requests and httpx send it: by IDNA 2008, where "ß" is not "ss"."""
    with forks_wait():  # its tables are imported when they are needed
        import idna

        return idna.encode(host, uts46=True).decode()
