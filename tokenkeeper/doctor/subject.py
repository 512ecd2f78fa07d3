"""What the doctor has to know of a provider: where it goes, and what it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal
from urllib.parse import urlsplit

import requests

from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.doctor.answers import as_json
from tokenkeeper.doctor.description import description_of
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider

__all__ = ["Subject", "subject_of"]

Kind = Literal["generic", "azure", "custom"]

_DEEPEST_ISSUER = 4
"""Segments of a path that an issuer may have; Keycloak's has two, Okta's two."""


@dataclass(frozen=True)
class Subject:
    """One provider, looked into.

    :ivar url: the token endpoint, or Entra's authority; ``None`` where only the provider knows.
    :ivar metadata_urls: where the server's metadata may be, each with the issuer whose it is.
    :ivar verify: as the provider's transport has it.
    :ivar auth_method: by the name of RFC 7591 §2; ``None`` where only the provider knows.
    :ivar grant_type: likewise.
    :ivar description: what the provider says of itself, fit to be shown.
    :ivar assumed_lifetime: the seconds that a token lives whose server does not say.
    :ivar unsaid: what the server leaves out of its answer to the token request, once it has been
        made: ``expires_in`` or ``scope``, which a token's provider then assumes.
    """

    provider: BaseOAuth2Provider
    kind: Kind
    url: str | None = None
    metadata_urls: tuple[tuple[str, str], ...] = ()
    verify: bool | str | None = None
    auth_method: str | None = None
    scope: str | None = None
    unsaid: set[str] = field(default_factory=set)
    grant_type: str | None = "client_credentials"
    description: Mapping[str, Any] = field(default_factory=dict)
    assumed_lifetime: float | None = None

    @property
    def name(self) -> str:
        """The name that callers ask for."""
        return self.provider.provider_name

    @property
    def shown_url(self) -> str | None:
        """The URL without its query, which may hold a secret."""
        return self.url and self.url.partition("?")[0]

    @cached_property
    def requested_url(self) -> str:
        """The URL as requests asks for it, which writes a host in other letters by IDNA 2008."""
        url = self.url or ""
        with suppress(requests.RequestException, ValueError):
            return requests.Request("POST", url).prepare().url or url
        return url  # the request itself will say what is wrong

    @property
    def host(self) -> str:
        """The host of :attr:`url`, as it is looked up."""
        return urlsplit(self.requested_url).hostname or ""

    @property
    def port(self) -> int:
        """The port of :attr:`url`."""
        parts = urlsplit(self.requested_url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def secure(self) -> bool:
        """Whether the way to the server is TLS; it may be otherwise on loopback."""
        return (self.url or "").startswith("https:")


def subject_of(provider: BaseOAuth2Provider, secrets: Iterable[str] = ()) -> Subject:
    """Look into *provider*. Nothing is asked of any server.

    A provider from a configuration stands behind one that asks a second time when the client is
    refused; a new one of the same registration asks once.

    :param secrets: what the provider was made from and nobody may see.
    """
    if isinstance(provider, ReloadableProvider):
        provider = provider.spec.make_provider()
    description = description_of(provider, secrets)
    # What follows is nobody else's business, and so no part of the providers' surface.
    if isinstance(provider, GenericOAuth2Provider):
        config, reading = provider._config, provider._reading  # noqa: SLF001
        transport = provider._transport  # noqa: SLF001
        believes = reading["lifetime_seconds"] is None and not reading["never_expires"]
        return Subject(
            provider,
            "generic",
            config.token_url,
            tuple(_candidates(config.token_url)),
            transport._verify,  # noqa: SLF001
            provider._client.method,  # noqa: SLF001
            str(config.scope) if config.scope else None,
            _unsaid(transport) if believes else set(),
            provider._grant_type,  # noqa: SLF001
            description,
            reading["default_lifetime"],
        )
    if isinstance(provider, AzureADProvider):
        authority = f"{provider._authority}/{provider._tenant_id}/v2.0"  # noqa: SLF001
        return Subject(
            provider,
            "azure",
            provider._authority,  # noqa: SLF001
            ((f"{authority}/.well-known/openid-configuration", authority),),
            provider._http.transport._verify,  # noqa: SLF001
            "client_secret_post",
            provider._scope,  # noqa: SLF001
            description=description,
        )  # Entra ID names no scope, and refuses a request whose scope it can't grant
    return _custom(provider, description)


def _custom(provider: BaseOAuth2Provider, description: Mapping[str, Any]) -> Subject:
    """Return what is known of a provider of somebody's own: what it says of itself."""
    texts = {name: said for name, said in description.items() if isinstance(said, str)}
    try:
        url = checked_endpoint(texts.get("token_url"), "token_url")
    except InvalidConfigurationError:
        url = None
    return Subject(
        provider,
        "custom",
        url,
        tuple(_candidates(url)) if url else (),
        auth_method=texts.get("token_endpoint_auth_method"),
        scope=texts.get("scope"),
        grant_type=texts.get("grant_type"),
        description=description,
    )


def _unsaid(transport: HttpTransport) -> set[str]:
    """Return a set that will have what is left out of the next answer that *transport* brings."""
    unsaid: set[str] = set()
    request = transport.request

    def listen(method: str, *arguments: Any, **options: Any) -> HttpAnswer:
        answer = request(method, *arguments, **options)
        content = as_json(answer)
        unsaid.update(name for name in ("expires_in", "scope") if content.get(name) is None)
        return answer

    transport.request = listen  # type: ignore[method-assign] # no one else has this provider
    return unsaid


def _candidates(token_url: str) -> Iterator[tuple[str, str]]:
    """Yield where the metadata of the server of *token_url* may be, the likeliest issuer first.

    Nobody told us the issuer. It is the server's root, or a piece of the endpoint's path: Keycloak
    has ``/realms/NAME``, Okta ``/oauth2/NAME``. A longer piece says more of whose it is.
    """
    parts = urlsplit(token_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    segments = [each for each in parts.path.split("/") if each][:-1][:_DEEPEST_ISSUER]
    for length in range(len(segments), -1, -1):
        path = "".join(f"/{each}" for each in segments[:length])
        issuer = origin + path
        yield f"{origin}/.well-known/oauth-authorization-server{path}", issuer  # RFC 8414 §3
        yield f"{issuer}/.well-known/openid-configuration", issuer  # OpenID Connect Discovery §4
