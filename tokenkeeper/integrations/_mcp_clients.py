"""Which client to be at an authorization server that an MCP server names."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.integrations._mcp_settings import McpSettings
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.oauth.registration import ClientRegistration, auth_method_for, register_client
from tokenkeeper.oauth.server_metadata import ServerMetadata, UnusableEndpointError
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.stores.memory import MemoryTokenStore
from tokenkeeper.stores.registrations import Registrations
from tokenkeeper.stores.settings import StoreSettings, opened

__all__ = ["ChosenClient", "McpClients"]


class ChosenClient(NamedTuple):
    """The client that is used at one server.

    :ivar kind: how it became known there: ``given`` by the configuration, a ``document`` with its
        metadata, or ``registered`` when it was needed.
    :ivar is_new: whether it was registered a moment ago.
    """

    registration: ClientRegistration
    kind: Literal["given", "document", "registered"]
    is_new: bool = False

    @property
    def redirect_port(self) -> int | None:
        """The port of the redirect URI that was registered; ``None`` for any."""
        for uri in self.registration.redirect_uris:
            return int(uri.rsplit(":", 1)[1].partition("/")[0])
        return None


class McpClients:
    """Chooses a client, in the order of MCP's authorization specification. Thread-safe.

    A client that was registered is kept where the refresh tokens are: in the custody, in the
    keeper's store, or in memory.

    :param grant_type: what it asks for tokens by.
    """

    def __init__(
        self, settings: McpSettings, transport: HttpTransport, clock: Clock, grant_type: str
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._clock = clock
        self._grant_type = grant_type
        self._refused: set[ClientRegistration] = set()
        self._registrations = Registrations(_store_of(settings, clock), clock)

    def choose(
        self, server: ServerMetadata, scope: tuple[str, ...], later: tuple[str, ...]
    ) -> ChosenClient:
        """Return the client for *server*; register one if there is none.

        :param scope: what it is to request now.
        :param later: what it may have to request later.
        :raises TokenAcquisitionError: if there is none, and none can be registered.
        """
        settings = self._settings
        if settings.client_id is not None:
            method = _given_method(settings.client_secret, server.content)
            given = ClientRegistration(
                server.issuer, settings.client_id, settings.client_secret, method
            )
            return ChosenClient(given, "given")
        if (
            settings.client_metadata_url is not None
            and server.content.get("client_id_metadata_document_supported") is True
        ):
            published = ClientRegistration(server.issuer, settings.client_metadata_url)
            return ChosenClient(published, "document")
        try:
            return self._registered(server, scope, later)
        except StoreUnavailableError as error:
            raise self._error(
                f"the client that {server.issuer} registered could not be read or stored: {error}",
                transient=not error.is_misconfigured,
            ) from error

    def refuse(self, registration: ClientRegistration) -> None:
        """Have another client registered next time: the server does not accept *registration*."""
        self._refused.add(registration)

    def _registered(
        self, server: ServerMetadata, scope: tuple[str, ...], later: tuple[str, ...]
    ) -> ChosenClient:
        name = self._settings.provider_name
        known = self._registrations.find(name, server.issuer)
        if known is not None and self._is_usable(known, scope):
            return ChosenClient(known, "registered")
        before = known.scope.split() if known is not None else []
        wanted = tuple(dict.fromkeys([*before, *scope, *later]))
        new = self._register(server, wanted)
        kept = self._registrations.keep(name, new, known)
        return ChosenClient(kept, "registered", is_new=kept is new)

    def _is_usable(self, known: ClientRegistration, scope: tuple[str, ...]) -> bool:
        if known in self._refused or not known.is_usable(self._clock.time(), scope):
            return False
        port = self._settings.redirect_port
        return port is None or _redirect_uri(port) in known.redirect_uris

    def _register(self, server: ServerMetadata, scope: tuple[str, ...]) -> ClientRegistration:
        try:
            endpoint = server.endpoint("registration_endpoint")
        except UnusableEndpointError as error:
            problem = (
                f"the metadata at {server.url} has no registration_endpoint"
                if "registration_endpoint" not in server.content
                else f"the metadata at {server.url} {str(error).removesuffix('.')}"
            )
            raise self._error(
                f"{problem}. Register a client by hand and set client_id, or set "
                "client_metadata_url if the server supports that."
            ) from None
        return register_client(
            endpoint,
            self._metadata(server, scope),
            self._transport,
            issuer=server.issuer,
            provider_name=self._settings.provider_name,
        )

    def _metadata(self, server: ServerMetadata, scope: tuple[str, ...]) -> dict[str, Any]:
        """Return the metadata of the client (RFC 7591 §2)."""
        supported = server.content.get("token_endpoint_auth_methods_supported")
        signs_in = self._grant_type == "authorization_code"
        metadata: dict[str, Any] = {
            "client_name": self._settings.client_name,
            "application_type": "native",
            "grant_types": [self._grant_type, *(["refresh_token"] if signs_in else [])],
            "token_endpoint_auth_method": auth_method_for(
                supported, confidential=self._grant_type == "client_credentials"
            ),
        }
        if signs_in:
            port = self._settings.redirect_port or _free_port()
            metadata |= {"redirect_uris": [_redirect_uri(port)], "response_types": ["code"]}
        if scope:
            metadata["scope"] = " ".join(scope)
        return metadata

    def _error(self, problem: str, *, transient: bool = False) -> TokenAcquisitionError:
        name = self._settings.provider_name
        return TokenAcquisitionError(
            f"provider {name!r}: {problem}", provider_name=name, transient=transient
        )


def _given_method(secret: str | None, metadata: Mapping[str, Any]) -> str:
    """Return how a client with *secret* authenticates; by default as RFC 7591 §2 says."""
    if secret is None:
        return "none"
    listed = metadata.get("token_endpoint_auth_methods_supported")
    if isinstance(listed, (list, tuple)) and "client_secret_basic" not in listed:
        return "client_secret_post"
    return "client_secret_basic"


def _redirect_uri(port: int) -> str:
    return f"http://127.0.0.1:{port}/callback"


def _free_port() -> int:
    """Return a port that is free now. Servers compare redirect URIs with their ports."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_in_memory: WeakKeyDictionary[TokenKeeper, MemoryTokenStore] = WeakKeyDictionary()
"""The registrations of keepers without a store, which several clients of one keeper share."""


def _store_of(settings: McpSettings, clock: Clock) -> StoreSettings:
    if settings.custody is not None:
        return opened(settings.custody)
    keeper = settings.keeper
    main = keeper._coordinator.memberships.main  # noqa: SLF001 - a part of the keeper
    if main is not None:
        return main.fleet.settings
    store = _in_memory.get(keeper)
    return opened(store or _in_memory.setdefault(keeper, MemoryTokenStore(clock)))
