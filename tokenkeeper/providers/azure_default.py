"""The credential that Azure has for this process, wherever it runs: tried in a fixed order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, cast

from tokenkeeper._support.checks import checked_seconds, checked_tenant, checked_text
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import (
    OAuth2Error,
    TokenAcquisitionError,
    naming,
)
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.providers.azure_chain import (
    CREDENTIALS,
    UnavailableError,
    chosen_credentials,
    default_of,
)
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.managed_identity import resource_of
from tokenkeeper.providers.this_machine import this_machine

if TYPE_CHECKING:
    from tokenkeeper.retry import RetryPolicy

__all__ = ["AzureDefaultProvider"]

LONGEST_SECONDS = 120.0
"""How long the first token of an application may take: four requests of 30 seconds."""


@dataclass
class _Found:
    """The credential that worked, shared by all tokens of a provider.

    :ivar provider: ``None`` until one has worked. Published in one assignment.
    """

    provider: BaseOAuth2Provider | None = None


class AzureDefaultProvider(BaseOAuth2Provider):
    """Gets tokens with the first credential that this process has in Azure. Thread-safe.

    It tries them in the order of azure-identity: the application that ``AZURE_CLIENT_ID``,
    ``AZURE_TENANT_ID`` and ``AZURE_CLIENT_SECRET`` or ``AZURE_CLIENT_CERTIFICATE_PATH`` describe;
    the workload identity of Kubernetes (``AZURE_FEDERATED_TOKEN_FILE``); the managed identity of
    the host; then what a developer has signed in with: Azure CLI, Azure PowerShell, Azure Developer
    CLI. No browser is opened. The first that grants a token is used from then on. One that is
    configured and is refused ends the search: another identity must not take its place unnoticed.

    ``AZURE_TOKEN_CREDENTIALS`` limits the choice, as for azure-identity: ``prod`` for those that a
    service has, ``dev`` for a developer's, or the name of one, such as
    ``ManagedIdentityCredential``.

    :param provider_name: the name to register the provider under, and to request tokens by.
    :param scope: the API, as a scope that ends in ``/.default`` or as its identifier alone.
    :param client_id: the client ID of the managed identity; by default ``AZURE_CLIENT_ID``, or else
        the host's own identity.
    :param tenant_id: the tenant for a developer's tools; by default the one that they signed in to.
    :param process_timeout: how many seconds such a tool may take; 10 by default.
    :param clock: the source of time; by default the system's. In tests, pass the keeper's.
    :param buffer_seconds: how long before its expiry a token is renewed; 300 by default.
    :param retry: how to retry transient failures; by default the keeper's policy.
    :raises InvalidConfigurationError: for an option, or an ``AZURE_TOKEN_CREDENTIALS``, that can't
        work.
    """

    takes: frozenset[str] = frozenset({"scope"})

    def __init__(
        self,
        provider_name: str,
        scope: str,
        *,
        client_id: str | None = None,
        tenant_id: str | None = None,
        process_timeout: float = 10.0,
        clock: Clock = SYSTEM_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(provider_name, buffer_seconds=buffer_seconds, retry=retry)
        with naming(provider_name):
            resource_of(scope)
            self._scope = scope
            self._client_id = None if client_id is None else checked_text(client_id, "client_id")
            self._tenant_id = None if tenant_id is None else checked_tenant(tenant_id, "tenant_id")
            self._process_timeout = checked_seconds(process_timeout, "process_timeout")
            self._names = chosen_credentials(os.environ)
        self._clock = clock
        self._found = _Found()
        # A search may ask each developer's tool, after the longest of the other requests.
        tools = [name for name in self._names if CREDENTIALS[name].is_developers]
        self.longest_request_seconds: float = LONGEST_SECONDS + len(tools) * self._process_timeout

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return the same credential for another API."""
        if parameters.scope is not None:
            with naming(self.provider_name):
                resource_of(parameters.scope)
        return super().variant(name, parameters)

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Request a token with the credential that worked, or else find one."""
        return self._ask(lambda provider: provider.acquire_token())

    @without_frames
    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Request a token to replace *token*."""
        return self._ask(lambda provider: provider.refresh_token(token))

    @without_frames
    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token:
        """Request a token in place of *token*, which an API rejected."""
        return self._ask(lambda provider: provider.replace_refused_token(token))

    @without_frames
    def replace_challenged_token(self, token: OAuth2Token, claims: str) -> OAuth2Token:
        """Request a token that has the *claims* of an API's challenge."""
        return self._ask(lambda provider: provider.replace_challenged_token(token, claims))

    def _ask(self, request: Callable[[BaseOAuth2Provider], object]) -> OAuth2Token:
        found = self._found.provider
        if found is None:
            return self._search()
        return cast("OAuth2Token", request(self._for_this_token(found)))

    def _for_this_token(self, provider: BaseOAuth2Provider) -> BaseOAuth2Provider:
        scope = self.parameters.scope
        if scope is None:
            return provider
        parameters = TokenParameters(scope=default_of(scope))
        return provider.variant(TokenName(self.token_name), parameters)

    def _search(self) -> OAuth2Token:
        """Return the token of the first credential that has one, and remember the credential."""
        tried: list[str] = []
        for name in self._names:
            credential = CREDENTIALS[name]
            try:
                provider = credential.make(self._settings())
                token = self._for_this_token(provider).acquire_token()
            except UnavailableError as missing:
                problem = str(missing)
            except OAuth2Error as error:
                if not credential.is_unavailable(error):
                    _add(error, name, tried)
                    raise
                problem = str(error).removeprefix(f"provider {self.provider_name!r}: ")
            else:
                self._found.provider = provider
                return cast("OAuth2Token", token)
            tried.append(f"{name}: {problem.rstrip('.')}")
        raise TokenAcquisitionError(
            f"provider {self.provider_name!r}: this process has no credential for Azure. Tried "
            f"{'; '.join(tried)}.",
            provider_name=self.provider_name,
            transient=False,
        )

    def _settings(self) -> Mapping[str, object]:
        return {
            "provider_name": self.provider_name,
            "scope": self._scope,
            "client_id": self._client_id,
            "tenant_id": self._tenant_id,
            "process_timeout": self._process_timeout,
            "clock": self._clock,
        }

    def describe(self) -> Mapping[str, object]:
        """Return the provider's settings, and those of the credential that worked."""
        found = self._found.provider
        return {
            **({} if found is None else found.describe()),
            **super().describe(),
            "scope": self._scope,
        }

    def identity(self) -> Mapping[str, object]:
        """Return what is known before a credential was found.

        Machines share the tokens of an identity that they or their environment name, and no others.
        """
        client_id = self._client_id or os.environ.get("AZURE_CLIENT_ID")
        tenant_id = self._tenant_id or os.environ.get("AZURE_TENANT_ID")
        own = {} if client_id else {"machine": this_machine()}
        return {"scope": self._scope, "client_id": client_id, "tenant_id": tenant_id, **own}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_name!r} for {self._scope}>"


def _add(error: OAuth2Error, name: str, tried: list[str]) -> None:
    """Add to *error* which credential failed, and why the ones before it were not used."""
    before = f" Not available before it: {'; '.join(tried)}." if tried else ""
    error.args = (f"{error} The credential is {name}, which is configured here.{before}",)
