"""The steps of MCP's authorization specification: from a refused request to a token."""

from __future__ import annotations

import threading
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    TokenAcquisitionError,
)
from tokenkeeper.integrations._mcp_clients import ChosenClient, McpClients
from tokenkeeper.integrations._mcp_connection import Connection, Demand, union
from tokenkeeper.integrations._mcp_settings import McpSettings
from tokenkeeper.integrations._mcp_sign_in import (
    SignInExpiredError,
    sign_in,
    wait_for_others,
)
from tokenkeeper.integrations._mcp_turns import turn_of
from tokenkeeper.integrations.httpx2 import KeeperAuth
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.metadata_cache import cache_of
from tokenkeeper.oauth.protected_resource import ProtectedResource, request_protected_resource
from tokenkeeper.oauth.server_metadata import ServerMetadata
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.providers.grants.authorization_code import AuthorizationCode
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.shared_settings import shared_transport
from tokenkeeper.source import TokenSource

__all__ = ["McpSteps"]

CLIENT_REFUSED = ("invalid_client", "unauthorized_client")
"""Error codes of a server that does not know the client, perhaps because it lost its memory."""


class McpProvider(GenericOAuth2Provider):
    """A provider that was added for an MCP server, and is replaced when its client changes."""


class McpSteps:
    """Finds out where tokens are granted, becomes a client there, and gets the first one.

    Used by one thread at a time.
    """

    def __init__(self, settings: McpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = shared_transport(5.0, 10.0, 30.0, settings.verify, None, clock)
        kind = AuthorizationCode.grant_type if settings.grant is None else settings.grant.grant_type
        self._signs_in = settings.grant is None
        self._clients = McpClients(settings, self._transport, clock, kind)

    def connect(self, demand: Demand, before: Connection | None) -> Connection:
        """Return a connection that meets *demand*, with the number 0.

        :param before: the connection that does not do; ``None`` if there was none.
        :raises OAuth2Error: if a step fails.
        """
        if before is not None and demand.is_refused:
            self._clients.refuse(before.client.registration)
        resource = self._resource(demand, before)
        server = self._server(resource)
        scope = self._scope(demand, before, resource, server)
        client = self._client(server, scope, resource)
        try:
            return self._connected(demand, resource, server, client, scope)
        except (TokenAcquisitionError, InvalidConfigurationError) as error:
            if client.kind != "registered" or client.is_new:
                raise
            if isinstance(error, SignInExpiredError):
                # Perhaps the server showed the person that it does not know the client.
                self._clients.refuse(client.registration)
            if not self._is_outdated(error):
                raise
        self._clients.refuse(client.registration)
        client = self._client(server, scope, resource)
        return self._connected(demand, resource, server, client, scope)

    def _client(
        self, server: ServerMetadata, scope: tuple[str, ...], resource: ProtectedResource
    ) -> ChosenClient:
        with self._turn("client"):  # others find the one that the first registers
            return self._clients.choose(server, scope, resource.scopes_supported)

    def _turn(self, purpose: Literal["client", "sign-in"]) -> threading.Lock:
        return turn_of(self._settings.keeper, self._settings.provider_name, purpose)

    def _is_outdated(self, error: TokenAcquisitionError | InvalidConfigurationError) -> bool:
        """Return whether *error* is that of a client that was registered long ago.

        The server may have forgotten it, or the port of its redirect URI may be taken.
        """
        if isinstance(error, InvalidConfigurationError):
            return error.field == "redirect_port" and self._settings.redirect_port is None
        return error.error in CLIENT_REFUSED

    def _resource(self, demand: Demand, before: Connection | None) -> ProtectedResource:
        """Return what the MCP server says about itself (RFC 9728)."""
        settings = self._settings
        # Without a challenge, it is where the last one said.
        stated = demand.challenge.metadata_url or ("" if before is None else before.metadata_url)
        found = request_protected_resource(
            settings.url,
            self._transport,
            stated=stated,
            provider_name=settings.provider_name,
        )
        if found is not None:
            return found
        # Servers of the specification of March 2025 publish nothing, and grant tokens themselves.
        parts = urlsplit(settings.url)
        resource = urlunsplit((parts.scheme, parts.netloc.lower(), parts.path, "", ""))
        return ProtectedResource("", resource, (f"{parts.scheme}://{parts.netloc.lower()}",))

    def _server(self, resource: ProtectedResource) -> ServerMetadata:
        """Return the metadata of the authorization server that is used."""
        name, listed, wanted = (
            self._settings.provider_name,
            resource.authorization_servers,
            self._settings.issuer,
        )
        # A root issuer with and without its slash is one server, and each spells it its own way.
        if wanted is not None and wanted.rstrip("/") not in {each.rstrip("/") for each in listed}:
            raise self._error(
                f"the MCP server does not accept tokens of the issuer {wanted}. It lists: "
                f"{', '.join(listed)}"
            )
        server = cache_of(self._transport, self._clock).get(
            wanted or listed[0], self._transport, name
        )
        if self._signs_in and "S256" not in server.listed("code_challenge_methods_supported"):
            raise self._error(
                f"{server.issuer} does not support PKCE with S256, without which a sign-in is not "
                "safe. Have its operator enable it"
            )
        return server

    def _scope(
        self,
        demand: Demand,
        before: Connection | None,
        resource: ProtectedResource,
        server: ServerMetadata,
    ) -> tuple[str, ...]:
        """Return the scope to request: what is needed now, and all that was granted before."""
        stated = tuple(demand.challenge.scope.split())
        first = self._settings.scope or stated or resource.scopes_supported
        scope = union(() if before is None else before.scope, first, demand.scope)
        offline = "offline_access"
        if self._signs_in and scope and offline in server.listed("scopes_supported"):
            return union(scope, (offline,))
        return scope

    def _connected(
        self,
        demand: Demand,
        resource: ProtectedResource,
        server: ServerMetadata,
        client: ChosenClient,
        scope: tuple[str, ...],
    ) -> Connection:
        with self._turn("client"):
            provider = self._in_keeper(self._provider(server, client, resource.resource))
        source = self._source(provider, scope)
        if self._signs_in:
            scope = self._sign_in(demand, source, scope, client)
        else:
            source.token()
        auth = KeeperAuth(
            source, allowed_hosts=[self._settings.origin], timeout=self._settings.timeout
        )
        return Connection(0, source, auth, client, scope, resource.scopes_supported, resource.url)

    def _sign_in(
        self, demand: Demand, source: TokenSource, scope: tuple[str, ...], client: ChosenClient
    ) -> tuple[str, ...]:
        """Have a person sign in, if that is needed; return the scope that the tokens have."""
        if not demand.scope and _has_token(source):
            return _granted_scope(source)
        port = client.redirect_port or self._settings.redirect_port
        with self._turn("sign-in"):  # those that have tokens do not wait for it
            while demand.scope or not _has_token(source):
                try:
                    sign_in(self._settings, scope, self._clock)
                except InvalidConfigurationError as error:
                    if error.field != "redirect_port" or port is None:
                        raise
                    # Another process may be at it, as the same client, and share what it gets.
                    if wait_for_others(self._settings, port, self._clock):
                        continue
                    if demand.scope or not _has_token(source):
                        raise
                else:
                    return scope
        return _granted_scope(source)

    def _source(self, provider: GenericOAuth2Provider, scope: tuple[str, ...]) -> TokenSource:
        keeper, name = self._settings.keeper, self._settings.provider_name
        if self._signs_in:  # the scope is that of the sign-in
            return keeper.source(name, account=self._settings.account)
        takes_scope = scope and "scope" in provider.takes
        return keeper.source(name, scope=scope if takes_scope else None)

    def _provider(self, server: ServerMetadata, client: ChosenClient, resource: str) -> McpProvider:
        settings, registration = self._settings, client.registration
        method = registration.auth_method
        return McpProvider(
            OAuth2Config(
                settings.provider_name,
                registration.client_id,
                registration.client_secret,
                issuer=server.issuer,
                # In every request, verbatim (RFC 8707).
                additional_params={"resource": resource},
            ),
            client_auth=settings.client_auth,
            token_endpoint_auth_method=None if settings.client_auth else method,
            # The official SDK's server looks for it even with HTTP Basic.
            send_client_id=settings.client_auth is None and method == "client_secret_basic",
            grant=self._grant(server, client),
            custody=settings.custody,
            verify=settings.verify,
            clock=self._clock,
        )

    def _grant(self, server: ServerMetadata, client: ChosenClient) -> Grant:
        if self._settings.grant is not None:
            return self._settings.grant
        offline = "offline_access" in server.listed("scopes_supported")
        return AuthorizationCode(
            redirect_port=client.redirect_port or self._settings.redirect_port,
            # OpenID Connect Core §11: without it, that scope is ignored.
            authorize_parameters={"prompt": "consent"} if offline else None,
        )

    def _in_keeper(self, provider: McpProvider) -> GenericOAuth2Provider:
        """Add *provider* to the keeper, or return the one that is there already. In its turn."""
        keeper, name = self._settings.keeper, provider.provider_name
        state = keeper._coordinator.state  # noqa: SLF001 - a part of the keeper
        for other in state.providers():
            if other.provider_name != name:
                continue
            if isinstance(other, GenericOAuth2Provider) and other.identity() == provider.identity():
                return other
            if not isinstance(other, McpProvider):
                raise InvalidConfigurationError(
                    f"the keeper has another provider {name!r}. Set provider_name.",
                    provider_name=name,
                    field="provider_name",
                )
            state.discard(other)
        keeper.add_provider(provider)
        return provider

    def _error(self, problem: str) -> TokenAcquisitionError:
        name = self._settings.provider_name
        return TokenAcquisitionError(
            f"provider {name!r}: {problem}.", provider_name=name, transient=False
        )


def _has_token(source: TokenSource) -> bool:
    """Return whether there is a token, or a refresh token that brings one."""
    try:
        source.token()
    except AuthorizationRequiredError:
        return False
    return True


def _granted_scope(source: TokenSource) -> tuple[str, ...]:
    """Return the scope of the token that there is; empty if it is unknown."""
    info = source.keeper.get_cached_token_info(source.name)
    return tuple(((info and info["scope"]) or "").split())
