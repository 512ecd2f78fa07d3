"""What the doctor knows about a provider: where it sends its requests, and what it asks for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import requests

from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper.config.credentials import CredentialFile
from tokenkeeper.doctor.description import read_description, shown_description
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.oauth.well_known import well_known_urls
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.kinds import Kind, kind_of

__all__ = ["ProviderFacts", "read_facts"]

_DEEPEST_ISSUER = 4
"""The most segments in the path of a guessed issuer. Keycloak and Okta have two."""


@dataclass(frozen=True)
class ProviderFacts:
    """What ``provider.describe()`` says about one provider.

    :ivar url: the token endpoint, or Entra's authority, or the issuer if the metadata has to name
        the token endpoint; ``None`` if none is described.
    :ivar credential_files: the files that the client proves with who it is.
    :ivar metadata_urls: where the server's metadata may be, each with the issuer it belongs to.
    :ivar verify: as for :class:`~tokenkeeper.oauth.transport.HttpTransport`.
    :ivar auth_method: by its name in RFC 7591 §2; ``None`` if it is not described.
    :ivar grant_type: ``None`` if it is not described.
    :ivar description: the whole description, safe to show.
    :ivar default_lifetime: the assumed lifetime in seconds if the server does not send one;
        ``None`` if none is assumed.
    :ivar issuer: the issuer whose metadata names the token endpoint; ``None`` if the endpoint is
        described.
    :ivar certificate_files: the certificate that the client presents in TLS, and its key, which may
        be in the same file; ``None`` if it presents none.
    """

    provider: BaseOAuth2Provider
    kind: Kind
    url: str | None = None
    metadata_urls: tuple[tuple[str, str], ...] = ()
    verify: bool | str | None = None
    auth_method: str | None = None
    scope: str | None = None
    grant_type: str | None = "client_credentials"
    description: Mapping[str, Any] = field(default_factory=dict)
    default_lifetime: float | None = None
    issuer: str | None = None
    credential_files: tuple[CredentialFile, ...] = ()
    certificate_files: tuple[str, str | None] | None = None

    @property
    def name(self) -> str:
        """The name that callers ask for."""
        return self.provider.provider_name

    @property
    def shown_url(self) -> str | None:
        """The URL without its query, which may contain a secret."""
        return self.url and self.url.partition("?")[0]

    @cached_property
    def requested_url(self) -> str:
        """The URL as requests sends it, with an internationalized host encoded by IDNA 2008."""
        url = self.url or ""
        with suppress(requests.RequestException, ValueError):
            return requests.Request("POST", url).prepare().url or url
        return url  # the token request will report what is wrong

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
        """Whether requests to the server use TLS. They may not on loopback."""
        return (self.url or "").startswith("https:")

    def omitted(self) -> frozenset[str]:
        """Return which of ``expires_in`` and ``scope`` the last token response left out."""
        names = read_description(self.provider).get("omitted")
        return frozenset(map(str, names)) if isinstance(names, (list, tuple)) else frozenset()


def read_facts(
    provider: BaseOAuth2Provider,
    secrets: Iterable[str] = (),
    credential_files: tuple[CredentialFile, ...] = (),
) -> ProviderFacts:
    """Return what *provider* describes. No request is made.

    :param secrets: the secrets that the provider was made from, to be hidden.
    :param credential_files: the files that its client proves with who it is.
    """
    kind = kind_of(provider)
    entries = read_description(provider)
    entries.pop("omitted", None)  # there was no response yet
    description = shown_description(entries, secrets)
    if kind == "custom":
        entries = description  # any of its entries may contain a secret
    texts = {name: value for name, value in entries.items() if isinstance(value, str)}
    url = _checked_url(texts.get("authority" if kind == "azure" else "token_url"))
    issuer = _checked_url(texts.get("issuer")) if kind == "generic" and url is None else None
    verify = entries.get("verify")
    return ProviderFacts(
        provider,
        kind,
        url or issuer,
        tuple(_metadata_urls(kind, url, texts)),
        verify if isinstance(verify, (bool, str)) else None,
        texts.get("token_endpoint_auth_method"),
        texts.get("scope") or None,
        texts.get("grant_type"),
        description,
        _default_lifetime(entries),
        issuer,
        credential_files,
        _certificate_files(entries),
    )


def _certificate_files(entries: Mapping[str, Any]) -> tuple[str, str | None] | None:
    file, key_file = entries.get("certificate_file"), entries.get("certificate_key_file")
    method = str(entries.get("token_endpoint_auth_method"))
    if not isinstance(file, str) or not method.endswith("tls_client_auth"):
        return None  # an application in Entra ID signs with it, and does not present it
    return file, key_file if isinstance(key_file, str) else None


def _checked_url(url: str | None) -> str | None:
    try:
        return checked_endpoint(url, "token_url")
    except InvalidConfigurationError:  # a custom class may describe anything
        return None


def _default_lifetime(entries: Mapping[str, Any]) -> float | None:
    """Return the lifetime that is assumed if the server sends none."""
    if entries.get("lifetime_seconds") is not None or entries.get("never_expires"):
        return None  # configured, whatever the server sends
    seconds = entries.get("default_lifetime_seconds")
    return float(seconds) if isinstance(seconds, (int, float)) else None


def _metadata_urls(
    kind: Kind, url: str | None, texts: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield where the server's metadata may be, each place with its issuer."""
    if kind == "azure" and (issuer := texts.get("issuer")):
        yield f"{issuer}/.well-known/openid-configuration", issuer
    elif issuer := _checked_url(texts.get("issuer")):
        yield from ((each, issuer) for each in well_known_urls(issuer))
    elif url:
        yield from _guessed(url)


def _guessed(token_url: str) -> Iterator[tuple[str, str]]:
    """Yield where the metadata of the server of *token_url* may be, the likeliest issuer first.

    The issuer is not known. It is the server's root, or the beginning of the endpoint's path:
    Keycloak has ``/realms/NAME``, Okta ``/oauth2/NAME``. A longer path is more specific.
    """
    parts = urlsplit(token_url)
    segments = [each for each in parts.path.split("/") if each][:-1][:_DEEPEST_ISSUER]
    for length in range(len(segments), -1, -1):
        path = "".join(f"/{each}" for each in segments[:length])
        issuer = f"{parts.scheme}://{parts.netloc}{path}"
        places = well_known_urls(issuer)
        yield from ((each, issuer) for each in (places[0], places[-1]))  # the usual ones
