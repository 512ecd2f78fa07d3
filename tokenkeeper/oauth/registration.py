"""Registers a client with an authorization server when it is needed (RFC 7591)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tokenkeeper._support.checks import checked_endpoint, checked_text
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.oauth.error_body import read_error
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.json_object import UnusableResponseError, read_object
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.oauth.time_values import as_number
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.oauth.verdict import status_verdict

__all__ = [
    "ClientRegistration",
    "auth_method_for",
    "checked_client_metadata_url",
    "register_client",
]

_METHODS = ("none", "client_secret_post", "client_secret_basic")
"""How a registered client may authenticate, the preferred one first. A program on a user's machine
can't keep a secret (RFC 8252 §8.4), so it asks for none where the server allows that."""


@dataclass(frozen=True, slots=True)
class ClientRegistration:
    """A client as an authorization server registered it (RFC 7591 §3.2.1). Immutable.

    :ivar issuer: the server that registered it. It is not known to any other.
    :ivar client_id: its identifier.
    :ivar client_secret: its secret; ``None`` for a public client. ``repr`` does not show it.
    :ivar auth_method: its ``token_endpoint_auth_method``.
    :ivar redirect_uris: where the server may send users back to.
    :ivar scope: the scope that it may request, separated by spaces; "" if none was registered.
    :ivar secret_expires_at: when the secret expires, in seconds since the epoch; 0 for never.
    """

    issuer: str
    client_id: str
    client_secret: str | None = field(default=None, repr=False)
    auth_method: str = "none"
    redirect_uris: tuple[str, ...] = ()
    scope: str = ""
    secret_expires_at: float = 0.0

    def is_usable(self, now: float, scope: Iterable[str] = ()) -> bool:
        """Return whether it can request the scopes *scope* at the time *now*.

        Some servers let a client request only what it registered.
        """
        if self.secret_expires_at and now >= self.secret_expires_at:
            return False
        return not self.scope or set(scope) <= set(self.scope.split())

    def to_members(self) -> dict[str, Any]:
        """Return what :meth:`from_members` reads."""
        return {
            "issuer": self.issuer,
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "auth_method": self.auth_method,
            "redirect_uris": list(self.redirect_uris),
            "scope": self.scope,
            "secret_expires_at": self.secret_expires_at,
        }

    @classmethod
    def from_members(cls, members: Mapping[str, Any]) -> ClientRegistration:
        """Return the registration that :meth:`to_members` wrote.

        :raises ValueError: for anything else.
        """
        texts = [members.get(name) for name in ("issuer", "client_id", "auth_method", "scope")]
        secret, expires_at = members.get("client_secret"), members.get("secret_expires_at")
        redirect_uris = members.get("redirect_uris")
        if (
            not all(isinstance(each, str) for each in texts)
            or not isinstance(secret, str | None)
            or not isinstance(expires_at, int | float)
            or not isinstance(redirect_uris, list | tuple)
        ):
            raise ValueError("it is not the registration of a client")
        issuer, client_id, auth_method, scope = map(str, texts)
        uris = tuple(map(str, redirect_uris))
        return cls(issuer, client_id, secret, auth_method, uris, scope, float(expires_at))


def auth_method_for(supported: object, *, confidential: bool = False) -> str:
    """Return the ``token_endpoint_auth_method`` to register with.

    :param supported: what the server's metadata lists as ``token_endpoint_auth_methods_supported``.
    :param confidential: whether the client must authenticate, as one with client credentials (RFC
        6749 §4.4); ``False`` by default.
    """
    methods = _METHODS[1:] if confidential else _METHODS
    # RFC 8414 §2: a server that lists none supports client_secret_basic.
    default = "client_secret_basic" if confidential else "none"
    listed = supported if isinstance(supported, (list, tuple)) else (default,)
    return next((each for each in methods if each in listed), default)


def checked_client_metadata_url(value: object) -> str:
    """Return *value* if it can be the ``client_id`` of a client that publishes its metadata there.

    :raises InvalidConfigurationError: unless it is an https URL with a path.
    """
    url = checked_endpoint(value, "client_metadata_url")
    parts = urlsplit(url)
    if parts.scheme != "https" or parts.path in ("", "/") or parts.query:
        raise InvalidConfigurationError(
            "client_metadata_url must be an https:// URL with a path and without a query, such as "
            "https://app.example.com/oauth-client.json",
            field="client_metadata_url",
        )
    return url


def register_client(
    endpoint: str,
    metadata: Mapping[str, Any],
    transport: HttpTransport,
    *,
    issuer: str,
    provider_name: str,
) -> ClientRegistration:
    """Register a client and return its registration.

    :param endpoint: the server's ``registration_endpoint``.
    :param metadata: the client's metadata (RFC 7591 §2), with a ``token_endpoint_auth_method``.
    :raises TokenAcquisitionError: if the server refuses, or registers a client that can't be used.
    """
    answer = transport.request(
        "POST",
        endpoint,
        provider_name=provider_name,
        data=json.dumps(metadata).encode(),
        headers={"Content-Type": "application/json", "Accept": "application/json"},
    )
    if not answer.ok:
        raise _refused(answer, issuer, provider_name)
    try:
        return _registered(answer, metadata, issuer)
    except UnusableResponseError as error:
        failure = TokenAcquisitionError(
            f"provider {provider_name!r}: {issuer} registered a client that can't be used: the "
            f"response {error}. Register one by hand and set client_id.",
            provider_name=provider_name,
            status_code=answer.status,
            transient=False,
        )
    raise failure  # out here, without the frames above, which hold the client's secret


def _registered(answer: HttpAnswer, metadata: Mapping[str, Any], issuer: str) -> ClientRegistration:
    """Return the registration in *answer*. A server may replace what was requested (§3.2.1)."""
    # A server may write an unset member as null or "".
    content = {
        name: value for name, value in read_object(answer).items() if value not in (None, "")
    }
    client_id = _text(content, "client_id")
    if not client_id:
        raise UnusableResponseError("has no client_id")
    secret = _text(content, "client_secret") or None
    method = _text(content, "token_endpoint_auth_method") or metadata["token_endpoint_auth_method"]
    if method not in _METHODS:
        raise UnusableResponseError(
            f"demands the token_endpoint_auth_method {sanitize(method, limit=60)!r}, which needs a "
            "key"
        )
    if method != "none" and secret is None:
        raise UnusableResponseError(f"has no client_secret, which {method} needs")
    requested = tuple(metadata.get("redirect_uris", ()))
    redirect_uris = content.get("redirect_uris", requested)
    if not isinstance(redirect_uris, list | tuple) or not set(requested) <= set(
        map(str, redirect_uris)
    ):
        raise UnusableResponseError("has another redirect_uri than the one that was requested")
    expires_at = as_number(content.get("client_secret_expires_at")) or 0.0
    return ClientRegistration(
        issuer,
        client_id,
        None if method == "none" else secret,
        method,
        requested,
        _text(content, "scope") or metadata.get("scope", ""),
        max(expires_at, 0.0),
    )


def _text(content: Mapping[str, Any], name: str) -> str:
    """Return a member that must be a text that can be sent; "" if it is not there."""
    if name not in content:
        return ""
    try:
        return checked_text(content[name], name)
    except InvalidConfigurationError:
        raise UnusableResponseError(f"has a {name} that is not a text") from None


def _refused(answer: HttpAnswer, issuer: str, provider_name: str) -> TokenAcquisitionError:
    response = read_error(answer)
    code = sanitize(response.codes[0], response.secrets, limit=100) if response.codes else None
    words = sanitize(response.words, response.secrets, limit=240)
    said = ": ".join(filter(None, (code, f'"{words}"' if words else "")))
    verdict = status_verdict(answer.status)
    if verdict.transient:
        advice = "If this persists, contact the server's operator."
    else:
        advice = "Register one by hand and set client_id, or set client_metadata_url."
    return TokenAcquisitionError(
        f"provider {provider_name!r}: {issuer} refused to register a client (HTTP {answer.status})"
        f"{': ' if said else ''}{said}. {advice}",
        provider_name=provider_name,
        error=code,
        error_description=words or None,
        status_code=answer.status,
        transient=verdict.transient,
    )
