"""A server that is known by its issuer identifier: its metadata says where its endpoints are."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tokenkeeper.clock import Clock
from tokenkeeper.oauth.metadata_cache import MetadataCache, cache_of
from tokenkeeper.oauth.server import no_endpoint
from tokenkeeper.oauth.server_metadata import ServerMetadata, UnusableEndpointError
from tokenkeeper.oauth.transport import HttpTransport

if TYPE_CHECKING:
    from tokenkeeper.models import OAuth2Config
    from tokenkeeper.oauth.server import Endpoint

__all__ = ["DiscoveredServer"]

_log = logging.getLogger("tokenkeeper.oauth")


class DiscoveredServer:
    """A server whose metadata is read when an endpoint is needed. Thread-safe.

    The metadata is read by RFC 8414 or OpenID Connect Discovery, is fresh for up to an hour, and is
    shared by all clients of the issuer that have the same settings of HTTP. If it can't be read
    again, the earlier one stays in use.

    :param config: the registration of a client of the server.
    :param issuer: its issuer identifier.
    :param transport: sends the requests for the metadata, which carry no secret.
    :param clock: the source of time.
    """

    __slots__ = ("_clock", "_config", "_issuer", "_transport", "_warned")

    def __init__(
        self, config: OAuth2Config, issuer: str, transport: HttpTransport, clock: Clock
    ) -> None:
        self._config = config
        self._issuer = issuer
        self._transport = transport
        self._clock = clock
        self._warned: tuple[str, ...] = ()  # few servers cause a warning

    @property
    def shown(self) -> str:
        """The issuer identifier."""
        return self._issuer

    def issuer(self) -> str:
        """Return the issuer identifier, which the metadata states as well."""
        return self._issuer

    def metadata(self) -> Mapping[str, Any]:
        """Return the metadata, which may have to be requested first."""
        return self._document().content

    def endpoint(self, name: Endpoint, *, with_certificate: bool = False) -> str:
        """Return the configured URL, or else that of the metadata.

        A URL of the metadata must be one that a configuration may contain. It may have another
        origin than the issuer if both are https.
        """
        configured: str | None = (self._config.endpoints or {}).get(name)
        if configured is not None:
            return configured
        document = self._document()
        try:
            return document.endpoint(name, with_certificate=with_certificate)
        except UnusableEndpointError as error:
            problem = f"the metadata at {document.url} {error}"
        self._cache().renew_soon(document)
        name_of_provider = self._config.provider_name
        raise no_endpoint(name, f"provider {name_of_provider!r}: {problem}", name_of_provider)

    def warn_if_unsupported(self, auth_method: str, grant_type: str | None) -> None:
        """Log a warning, once each, if the metadata that was read does not list one of the two."""
        document = self._cache().known(self._issuer)
        if document is None:  # all endpoints so far are configured
            return
        for wanted, problem in document.unsupported(auth_method, grant_type):
            if wanted not in self._warned:
                self._warned += (wanted,)
                _log.warning(
                    "provider %r: %s is not supported by the server, says its metadata: %s",
                    self._config.provider_name,
                    wanted,
                    problem,
                )

    def _document(self) -> ServerMetadata:
        return self._cache().get(self._issuer, self._transport, self._config.provider_name)

    def _cache(self) -> MetadataCache:
        return cache_of(self._transport, self._clock)
