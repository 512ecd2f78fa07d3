"""The metadata of a server, and the block of configuration that it suggests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper._support.endpoints import ENDPOINTS, checked_issuer
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.oauth.metadata_request import MetadataFailure, request_metadata
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.server_metadata import ServerMetadata, UnusableEndpointError
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.oauth.well_known import issuers_of

__all__ = ["as_json", "as_yaml", "discover"]

_CREDENTIALS = {
    "client_secret_basic": ["client_secret: ${CLIENT_SECRET}"],
    "client_secret_post": ["client_secret: ${CLIENT_SECRET}"],
    "private_key_jwt": ["private_key_file: client-key.pem"],
    "tls_client_auth": ["certificate_file: client.pem", "certificate_key_file: client-key.pem"],
    "self_signed_tls_client_auth": [
        "certificate_file: client.pem",
        "certificate_key_file: client-key.pem",
    ],
    "client_secret_jwt": ["client_secret: ${CLIENT_SECRET}"],
    "none": [],
}
"""The methods of client authentication, the one to suggest first, and what each needs."""

_DEFAULT_METHOD = "client_secret_basic"  # RFC 8414 §2, and ours
_MOST_LISTED = 30


def discover(url: str, clock: Clock, *, timeout: float) -> ServerMetadata:
    """Return the metadata of a server.

    :param url: its issuer, with or without a slash at the end and ``https://``, or the URL of its
        metadata.
    :param timeout: how many seconds the requests may take.
    :raises InvalidConfigurationError: if *url* can't be either.
    :raises TokenAcquisitionError: if there is no metadata.
    """
    url = checked_endpoint(url if "://" in url else f"https://{url}", "URL")
    issuer = url.rstrip("/")
    issuers = issuers_of(url) or ((url, issuer) if url != issuer else (issuer, f"{issuer}/"))
    transport = HttpTransport(
        connect_timeout=timeout, read_timeout=timeout, total_timeout=timeout, clock=clock
    )
    failures: list[MetadataFailure] = []
    for each in issuers:  # servers differ in the slash, and it is the server's spelling that counts
        found = request_metadata(
            checked_issuer(each), transport, clock, provider_name="", seconds=timeout
        )
        if isinstance(found, ServerMetadata):
            return found
        failures.append(found)
        if found.transient:
            break
    raise TokenAcquisitionError(failures[0].problem, transient=failures[0].transient)


def as_json(found: ServerMetadata) -> dict[str, Any]:
    """Return what is known of the server, for programs."""
    return {
        "issuer": found.issuer,
        "url": found.url,
        "endpoints": dict(_endpoints(found)),
        "token_endpoint_auth_method": _method(found),
        "token_endpoint_auth_methods_supported": _listed(found, _METHODS),
        "grant_types_supported": _listed(found, "grant_types_supported"),
        "scopes_supported": _listed(found, "scopes_supported"),
    }


def as_yaml(found: ServerMetadata) -> str:
    """Return a block of configuration for a client of the server.

    :raises TokenAcquisitionError: if the metadata names no token endpoint that can be used.
    """
    try:
        token_endpoint = found.endpoint("token_endpoint")
    except UnusableEndpointError as error:
        problem = f"the metadata at {found.url} {error}"
    else:
        return "\n".join(["oauth2:", *_lines(found, token_endpoint)])
    raise TokenAcquisitionError(problem, transient=False)


def _lines(found: ServerMetadata, token_endpoint: str) -> Iterator[str]:
    yield "  provider_name: my-api  # the name that your code asks for"
    yield "  provider_type: generic"
    yield f"  issuer: {_scalar(found.issuer)}  # token endpoint: {sanitize(token_endpoint)}"
    yield "  client_id: ${CLIENT_ID}"
    method = _method(found)
    if method is None:
        yield "  # The server lists no method of client authentication that Tokenkeeper has:"
        yield f"  # {_shown(_listed(found, _METHODS))}"
    elif method != _DEFAULT_METHOD:
        yield f"  token_endpoint_auth_method: {method}"
    yield from (f"  {each}" for each in _CREDENTIALS.get(method or "", ()))
    others = [each for each in _CREDENTIALS if each in (_listed(found, _METHODS) or ())]
    if len(others) > 1:
        yield f"  # The server also accepts {_shown([each for each in others if each != method])}."
    grants = _listed(found, "grant_types_supported")
    if grants is None or "client_credentials" in grants:
        yield "  grant: client_credentials"
    else:
        yield f"  # Set grant. The server does not list client_credentials, but {_shown(grants)}."
    scopes = _listed(found, "scopes_supported")
    yield f"  # scope: {_shown(scopes, ' ')}" if scopes else "  # scope: read write"


_METHODS = "token_endpoint_auth_methods_supported"


def _method(found: ServerMetadata) -> str | None:
    """Return the method to suggest; ``None`` if the server has none of ours."""
    listed = _listed(found, _METHODS)
    if listed is None:
        return _DEFAULT_METHOD
    return next((each for each in _CREDENTIALS if each in listed), None)


def _endpoints(found: ServerMetadata) -> Iterator[tuple[str, str]]:
    """Yield the endpoints that can be used."""
    for name in ENDPOINTS:
        try:
            yield name, found.endpoint(name)
        except UnusableEndpointError:
            continue


def _listed(found: ServerMetadata, member: str) -> list[str] | None:
    """Return the list *member*; ``None`` if there is none."""
    values = found.content.get(member)
    return [sanitize(each) for each in values] if isinstance(values, tuple) else None


def _shown(values: list[str] | None, separator: str = ", ") -> str:
    values = values or ["nothing"]
    more = f"{separator}..." if len(values) > _MOST_LISTED else ""
    return sanitize(separator.join(values[:_MOST_LISTED]), limit=2000) + more


def _scalar(text: str) -> str:
    """Return *text* for YAML: in quotes where needed, and without references to variables."""
    text = text.replace("$", "$$")
    plain = all(each.isalnum() or each in "/-._~" for each in text.removeprefix("https://"))
    return text if plain and text.startswith("https://") else json.dumps(text)
