"""Where the metadata of an issuer is (RFC 8414 §3, OpenID Connect Discovery §4)."""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = ["WELL_KNOWN", "issuers_of", "well_known_urls"]

WELL_KNOWN = "/.well-known/"
_OAUTH = f"{WELL_KNOWN}oauth-authorization-server"
_OPENID = f"{WELL_KNOWN}openid-configuration"


def well_known_urls(issuer: str) -> tuple[str, ...]:
    """Return the URLs at which the metadata of *issuer* may be, in the order to request them.

    RFC 8414 inserts its name before the path of the issuer, and OpenID Connect appends one to it.
    RFC 8414 §5 describes a form in between, for servers that have both. The order is that of the
    authorization specification of MCP, so that one order fits all.
    """
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = f"{origin}{_OAUTH}{path}", f"{origin}{_OPENID}{path}", f"{origin}{path}{_OPENID}"
    return tuple(dict.fromkeys(urls))  # two of them are one if there is no path


def issuers_of(url: str) -> tuple[str, ...]:
    """Return the issuers whose metadata *url* may be, or an empty tuple if it is not such a URL.

    A terminating slash of an issuer is not part of the URL, so there are two for each.
    """
    for name in (_OAUTH, _OPENID):
        before, separator, after = url.partition(name)
        if separator and after[:1] in ("", "/"):
            issuer = (before + after).rstrip("/")
            return issuer, f"{issuer}/"
    return ()
