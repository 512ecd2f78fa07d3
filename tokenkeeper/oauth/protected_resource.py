"""What a protected resource says about itself (RFC 9728): who grants tokens for it, and which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from tokenkeeper._support.checks import checked_scope, shown_url
from tokenkeeper._support.endpoints import checked_issuer, origin_of
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.challenges import parameters_in
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.json_object import UnusableResponseError, read_object
from tokenkeeper.oauth.metadata_urls import is_trusted_from
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.oauth.verdict import status_verdict

__all__ = [
    "ProtectedResource",
    "ResourceChallenge",
    "covers",
    "request_protected_resource",
    "resource_challenge",
    "resource_metadata_urls",
]

_WELL_KNOWN = "/.well-known/oauth-protected-resource"

MOST_SERVERS = 16
"""How many authorization servers of a document are read. It names one or two."""

MOST_SCOPES = 256
"""How many scopes of a document are read."""


class ResourceChallenge(NamedTuple):
    """What the ``WWW-Authenticate`` header of a refusal demands; "" for what it does not mention.

    :ivar metadata_url: where the metadata of the resource is (RFC 9728 §5.1).
    :ivar scope: the scope that the request needs (RFC 6750 §3).
    :ivar error: the error code (RFC 6750 §3.1).
    """

    metadata_url: str = ""
    scope: str = ""
    error: str = ""


def resource_challenge(header: str | None) -> ResourceChallenge:
    """Return what a ``WWW-Authenticate`` header demands.

    :param header: the header's value; ``None`` if there is no such header.
    """
    found = parameters_in(header or "")
    try:
        scope = checked_scope(found.get("scope", ""), "scope")
    except InvalidConfigurationError:  # such as one with a quotation mark
        scope = None
    return ResourceChallenge(
        found.get("resource_metadata", ""), scope or "", found.get("error", "")
    )


@dataclass(frozen=True, slots=True)
class ProtectedResource:
    """The metadata of a protected resource. Immutable.

    :ivar url: where it was read.
    :ivar resource: the resource identifier, verbatim: the ``resource`` of requests (RFC 8707 §2).
    :ivar authorization_servers: the issuers that grant tokens for it, in its order.
    :ivar scopes_supported: the scopes that it uses; empty if it lists none.
    """

    url: str
    resource: str
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...] = ()


def resource_metadata_urls(url: str, stated: str = "") -> tuple[str, ...]:
    """Return where the metadata of the resource at *url* may be, in the order to request it.

    That is the order of MCP's authorization specification: where the challenge says, then below the
    well-known URI with the path of the resource (RFC 9728 §3.1), then at its root.

    :param stated: the URL in the challenge; "" if there is none. One that can't be trusted is left
        out: an https resource must not direct requests to plain http.
    """
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = "" if parts.path == "/" else parts.path
    urls = [stated] if stated and is_trusted_from(url, stated) else []
    return tuple(dict.fromkeys([*urls, f"{origin}{_WELL_KNOWN}{path}", f"{origin}{_WELL_KNOWN}"]))


def covers(resource: str, url: str) -> bool:
    """Return whether the identifier *resource* is that of the resource at *url* (RFC 9728 §3.3).

    It is the URL itself, or the beginning of it: the metadata of ``https://api.example.com`` may be
    for everything there, that of ``/mcp`` for ``/mcp/messages`` but not for ``/mcp2``.
    """
    try:
        theirs, ours = urlsplit(resource), urlsplit(url)
        same_origin = origin_of(resource) == origin_of(url)
    except ValueError:
        return False
    if not same_origin or theirs.fragment or theirs.query not in ("", ours.query):
        return False
    return f"{ours.path.rstrip('/')}/".startswith(f"{theirs.path.rstrip('/')}/")


def request_protected_resource(
    url: str, transport: HttpTransport, *, stated: str = "", provider_name: str
) -> ProtectedResource | None:
    """Return the metadata of the resource at *url*, or ``None`` if it publishes none.

    :param transport: sends the requests, which carry no secret.
    :param stated: where the challenge says that it is; "" if it does not.
    :raises TokenAcquisitionError: if a server fails, or the metadata can't be used: if it is that
        of another resource, or names no authorization server.
    """
    failure: _UnusableError | None = None
    for place in resource_metadata_urls(url, stated):
        answer = transport.request(
            "GET", place, provider_name=provider_name, headers={"Accept": "application/json"}
        )
        try:
            found = _read(answer, place, url)
        except _UnusableError as error:
            failure = failure or error
        else:
            if found is not None:
                return found
    if failure is None:
        return None
    raise TokenAcquisitionError(
        f"provider {provider_name!r}: {failure}",
        provider_name=provider_name,
        status_code=failure.status,
        transient=failure.transient,
    )


class _UnusableError(Exception):
    """Why a document can't be used, in a sentence."""

    def __init__(self, message: str, status: int, *, transient: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.transient = transient


def _read(answer: HttpAnswer, place: str, url: str) -> ProtectedResource | None:
    """Return the metadata in *answer*; ``None`` if *place* has none."""
    status = answer.status
    if not answer.ok:
        if status_verdict(status).transient:
            problem = f"the metadata at {shown_url(place)} could not be had (HTTP {status})"
            advice = "If this persists, contact the operator of the API."
            raise _UnusableError(f"{problem}. {advice}", status, transient=True)
        return None
    try:
        content = read_object(answer)
    except UnusableResponseError:  # such as a web page, for any path
        return None
    resource = content.get("resource")
    if not isinstance(resource, str):
        return None
    if not covers(resource, url):
        raise _UnusableError(
            f"the metadata at {shown_url(place)} is that of {sanitize(resource)!r}, not of "
            f"{shown_url(url)!r}, so it is not used (RFC 9728 §3.3). Call the API by the URL that "
            "it states.",
            status,
        )
    servers = tuple(_issuers(content.get("authorization_servers"), url))
    if not servers:
        raise _UnusableError(
            f"the metadata at {shown_url(place)} names no authorization server that can be used. "
            "It must be https://, or on loopback if the API is.",
            status,
        )
    return ProtectedResource(place, resource, servers, _scopes(content.get("scopes_supported")))


def _issuers(value: Any, url: str) -> Iterator[str]:
    """Yield the issuers in *value* that may be asked."""
    for each in value[:MOST_SERVERS] if isinstance(value, list) else ():
        try:
            issuer = checked_issuer(each)
        except InvalidConfigurationError:
            continue
        if is_trusted_from(url, issuer):
            yield issuer


def _scopes(value: Any) -> tuple[str, ...]:
    """Return the scopes in *value*, without those that could not be requested."""
    words = value[:MOST_SCOPES] if isinstance(value, list) else ()
    found: dict[str, None] = {}
    for each in words:
        try:
            scope = checked_scope(each, "scope") if isinstance(each, str) else None
        except InvalidConfigurationError:
            continue
        if scope and " " not in scope:
            found[scope] = None
    return tuple(found)
