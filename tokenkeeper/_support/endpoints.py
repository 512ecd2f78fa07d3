"""The issuer and the endpoints of an authorization server, as a configuration states them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper._support.frozen import EMPTY, FrozenMapping
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["ENDPOINTS", "checked_endpoints", "checked_issuer", "checked_server", "origin_of"]

ENDPOINTS = (
    "authorization_endpoint",
    "backchannel_authentication_endpoint",
    "device_authorization_endpoint",
    "introspection_endpoint",
    "pushed_authorization_request_endpoint",
    "revocation_endpoint",
    "token_endpoint",
)
"""The endpoints that are used, by their names in RFC 8414 §2 and in the RFCs that add to it."""


def checked_server(
    token_url: object, issuer: object, endpoints: object, provider_name: str
) -> FrozenMapping:
    """Return *endpoints*, immutable, if they and the other two say where a server is.

    :raises InvalidConfigurationError: unless there is exactly one of *token_url* and *issuer*.
    """
    if issuer is None and token_url == "":
        problem = "is empty. Set it, or set issuer, or check the variable that it comes from."
        raise _invalid(f"token_url {problem}", "token_url", provider_name)
    if issuer is None:
        checked_endpoint(token_url, "token_url", provider_name)
    elif token_url:
        problem = (
            "can't be combined with token_url: the issuer's metadata names the token endpoint. "
            "Remove one of them, or set token_endpoint in endpoints to replace that of the metadata"
        )
        raise _invalid(f"issuer {problem}.", "issuer", provider_name)
    else:
        checked_issuer(issuer, provider_name)
    found = checked_endpoints(endpoints, provider_name)
    if issuer is None and "token_endpoint" in found:
        problem = "can't contain token_endpoint beside token_url, which is the same. Remove one."
        raise _invalid(f"endpoints {problem}", "endpoints", provider_name)
    return found


def checked_issuer(value: object, provider_name: str | None = None) -> str:
    """Return *value* if it can be an issuer identifier (RFC 8414 §2), unchanged."""
    issuer = checked_endpoint(value, "issuer", provider_name)
    before, separator, _ = issuer.partition("/.well-known/")
    if "?" in issuer:
        problem = "must not contain a query (RFC 8414 §2)"
    elif separator:
        problem = f"must be the issuer itself, such as {before!r}, not the URL of its metadata"
    else:
        return issuer
    raise _invalid(f"issuer {problem}", "issuer", provider_name)


def checked_endpoints(value: object, provider_name: str | None = None) -> FrozenMapping:
    """Return *value*, names of endpoints and their URLs, as an immutable mapping."""
    if value is None:
        return EMPTY
    if not isinstance(value, Mapping):
        problem = f"must be a mapping of names to URLs, not {type(value).__name__}"
        raise _invalid(f"endpoints {problem}", "endpoints", provider_name)
    for name, url in value.items():
        if name not in ENDPOINTS:
            problem = f"contains an unknown name, {name!r}{_nearest(str(name))}"
            raise _invalid(f"endpoints {problem}", "endpoints", provider_name)
        checked_endpoint(url, f"endpoints.{name}", provider_name)
    return FrozenMapping(value) if value else EMPTY


def _nearest(name: str) -> str:
    """Return what *name* may be a misspelling of, or else all names."""
    import difflib  # takes long to import, and is needed for mistakes only

    near = difflib.get_close_matches(name, ENDPOINTS, n=1, cutoff=0.5)
    return f". Did you mean {near[0]!r}?" if near else f". Known are {', '.join(ENDPOINTS)}."


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port of *url* (RFC 6454 §4)."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, parts.hostname or "", default if parts.port is None else parts.port


def _invalid(problem: str, field: str, provider_name: str | None) -> InvalidConfigurationError:
    prefix = f"provider {provider_name!r}: " if provider_name else ""
    return InvalidConfigurationError(prefix + problem, provider_name=provider_name, field=field)
