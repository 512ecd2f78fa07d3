"""Tokens from Microsoft Entra ID (Azure AD), through msal."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Self, cast
from urllib.parse import urlsplit

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper._support.checks import (
    checked_host,
    checked_tenant,
    checked_tenants,
    checked_text,
    checked_words,
    one_scope,
)
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    TokenAcquisitionError,
    naming,
)
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.oauth.late_text import LateText
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.providers.azure_credentials import entra_credential
from tokenkeeper.providers.base import BaseOAuth2Provider, made_again
from tokenkeeper.providers.msal_client import MsalClient
from tokenkeeper.providers.reacquire import reacquire

if TYPE_CHECKING:
    import requests

    from tokenkeeper.retry import RetryPolicy

__all__ = ["AzureADProvider"]

PUBLIC_CLOUD = "https://login.microsoftonline.com"

_REGION = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")

# Each cloud has a Microsoft Graph of its own.
_GRAPHS = {
    "login.microsoftonline.us": "https://graph.microsoft.us",
    "login.chinacloudapi.cn": "https://microsoftgraph.chinacloudapi.cn",
    "login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
}


class AzureADProvider(BaseOAuth2Provider):
    """Gets tokens from Microsoft Entra ID. Thread-safe.

    For the application itself, by the client credentials grant (RFC 6749 §4.4), or on behalf of the
    user whose token ``source(subject=...)`` names. The application has exactly one credential: a
    secret, a certificate, or a token of another identity provider that it trusts. No server is
    contacted, and msal is not imported, before the first token is needed.

    :param provider_name: the name to register the provider under, and to request tokens by.
    :param client_id: the application (client) ID.
    :param client_secret: the secret's value, not its id; ``None`` if there is another credential.
    :param tenant_id: the tenant's GUID or one of its domains.
    :param scope: the scope to request (RFC 6749 §3.3), a string or a list, usually one that ends in
        ``/.default``; by default the one of Microsoft Graph in the same cloud.
    :param scopes: an older name for *scope*.
    :param certificate_file: a file with a certificate and its private RSA key, in PEM or PKCS #12.
        It is read for each request, so a replaced one is used at once.
    :param certificate_password: the password of the key, if it is encrypted.
    :param send_x5c: whether to send the certificate and its issuers too, for an application that
        trusts a subject name and an issuer rather than one certificate; ``False`` by default.
    :param federated_token_file: a file with the token of another identity provider, such as the
        one of Kubernetes that ``AZURE_FEDERATED_TOKEN_FILE`` names. It is read for each request.
    :param client_assertion: a callable that returns that token, such as a
        :class:`~tokenkeeper.TokenSource`; called for each request.
    :param region: the region whose endpoint to use, such as ``westeurope``, or ``auto`` to ask the
        machine that this runs on. By default the one of ``MSAL_FORCE_REGION``, or else none. Tokens
        on behalf of users always come from the global endpoint.
    :param client_capabilities: what the program can do, one or several. With ``CP1``, it can handle
        claims challenges: tokens then live for up to a day, and APIs refuse them as soon as they
        are revoked. The ``auth`` objects of :mod:`tokenkeeper.integrations` do handle them.
    :param allowed_tenants: the tenants that ``source(tenant=...)`` may name besides *tenant_id*;
        none by default. ``"*"`` allows every tenant: then make sure that a caller can't choose it.
    :param authority: the login host, with or without ``https://``; the tenant is appended. By
        default the variable ``AZURE_AUTHORITY_HOST``, or else the public cloud. For a host that is
        not a Microsoft cloud, instance discovery is off.
    :param connect_timeout: how many seconds to wait for a connection, including its TLS handshake;
        5 by default.
    :param read_timeout: how many seconds to wait for each piece of the response; 10 by default.
    :param total_timeout: how many seconds one HTTP request may take in total; 30 by default.
    :param verify: a file or directory of CA certificates; by default ``REQUESTS_CA_BUNDLE``, or
        else the usual ones. ``False`` turns verification off.
    :param session: a ``requests.Session`` whose settings to use, such as proxies and certificates;
        it is neither changed nor closed. By default the library uses its own.
    :param clock: the source of time; by default the system's. In tests, pass the keeper's.
    :param buffer_seconds: how long before its expiry a token is renewed; 300 by default.
    :param retry: how to retry transient failures; by default the keeper's policy.
    :raises InvalidConfigurationError: for an option that can't work.
    """

    takes: frozenset[str] = frozenset({"scope", "subject", "tenant"})

    def __init__(
        self,
        provider_name: str,
        client_id: str,
        client_secret: str | None = None,
        tenant_id: str | None = None,
        scope: str | Iterable[str] | None = None,
        *,
        scopes: str | Iterable[str] | None = None,
        certificate_file: str | os.PathLike[str] | None = None,
        certificate_password: str | None = None,
        send_x5c: bool = False,
        federated_token_file: str | os.PathLike[str] | None = None,
        client_assertion: LateText | None = None,
        region: str | None = None,
        client_capabilities: str | Iterable[str] = (),
        allowed_tenants: str | Iterable[str] = (),
        authority: str | None = None,
        connect_timeout: float = 5.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        verify: bool | str | os.PathLike[str] | None = None,
        session: requests.Session | None = None,
        clock: Clock = SYSTEM_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(provider_name, buffer_seconds=buffer_seconds, retry=retry)
        name = provider_name
        self._client_id = checked_text(client_id, "client_id", name)
        if tenant_id is None:
            raise self._invalid("tenant_id", "is missing. Set it to the tenant's GUID or domain.")
        self._tenant_id = checked_tenant(tenant_id, "tenant_id", name)
        self._authority = _checked_authority(authority, name)
        self._scope = one_scope(scope, scopes, name) or _graph_of(self._authority)
        with naming(name):
            self._transport = _transport(
                connect_timeout, read_timeout, total_timeout, verify, session, clock
            )
            self._allowed_tenants = checked_tenants(allowed_tenants, "allowed_tenants")
            self._region = _checked_region(region)
            self._capabilities = checked_words(client_capabilities, "client_capabilities")
            certificate = certificate_file, certificate_password, send_x5c
            federated = federated_token_file, client_assertion
            self._credential = entra_credential(
                self._client_id, client_secret, certificate, federated, clock
            )
        self._clock = clock
        self.longest_request_seconds: float = _requests(self._region) * total_timeout
        self._start()

    def _start(self) -> None:
        self._msal = MsalClient(
            self.provider_name,
            self._client_id,
            self._credential,
            self._authority,
            self._transport,
            self._clock,
            region=self._region,
            capabilities=self._capabilities,
        )
        renew_after_fork(self)

    def for_another_process(self) -> Callable[[], BaseOAuth2Provider]:
        """Return a function that makes this provider again, with all attributes of a subclass."""
        state = {name: value for name, value in vars(self).items() if name != "_msal"}
        return partial(_started_again, type(self), state)

    def after_fork_in_child(self) -> None:
        """Drop msal's applications with their locks, which belong to the parent."""
        self._msal.after_fork_in_child()

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return the same application for another scope, in another tenant, or for a user.

        :raises InvalidConfigurationError: for a tenant that ``allowed_tenants`` does not list, or a
            scope that client credentials can't request.
        """
        tenant = parameters.tenant
        if tenant is not None and not self._may_use(tenant):
            raise self._invalid(
                "tenant",
                f"{tenant!r} is not allowed. List it in allowed_tenants, where '*' allows every "
                "tenant.",
            )
        if parameters.scope is not None and parameters.subject is None:
            self._check_scope(parameters.scope)
        twin = super().variant(name, parameters)
        vars(twin).update(
            _tenant_id=tenant or self._tenant_id, _scope=parameters.scope or self._scope
        )
        return twin

    def _may_use(self, tenant: str) -> bool:
        allowed = self._allowed_tenants
        return tenant == self._tenant_id.lower() or tenant in allowed or "*" in allowed

    def _check_scope(self, scope: str) -> None:
        if " " in scope or not scope.endswith("/.default"):
            raise self._invalid(
                "scope",
                f"{scope!r} can't be requested with client credentials. Name one resource, and "
                "append '/.default', which stands for all permissions granted to the application.",
            )

    def _invalid(self, field: str, problem: str) -> InvalidConfigurationError:
        name = self.provider_name
        return InvalidConfigurationError(
            f"provider {name!r}: {field} {problem}", provider_name=name, field=field
        )

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Request a token once: by client credentials (RFC 6749 §4.4), or on behalf of a user."""
        return self._acquire(None)

    @without_frames
    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Request a new token: client credentials have no refresh token (RFC 6749 §4.4.3)."""
        return cast("OAuth2Token", reacquire(self))

    @without_frames
    def replace_challenged_token(self, token: OAuth2Token, claims: str) -> OAuth2Token:
        """Request a token that has the *claims* of an API's challenge."""
        return self._acquire(claims)

    def _acquire(self, claims: str | None) -> OAuth2Token:
        before = sys.exception()
        subject = self.parameters.subject
        try:
            token = self._msal.acquire_token(
                self._tenant_id, self._scope, subject=subject, claims=claims
            )
        except (OAuth2Error, LookAgain) as error:
            if isinstance(error, TokenAcquisitionError) and error.provider_name is None:
                error.args = (f"provider {self.provider_name!r}: {error}",)
                error.provider_name = self.provider_name
            raise
        except Exception as error:  # noqa: BLE001 - msal raises many kinds
            if (thrown := interruption_in(error, before)) is not None:
                raise thrown from None
            # Its text may contain what the server sent, so the original is dropped.
            self._fail(f"msal failed with {type(error).__name__}")
        if token is None:
            self._fail("msal did not send a request")
        return token

    def _fail(self, problem: str) -> NoReturn:
        raise TokenAcquisitionError(
            f"provider {self.provider_name!r}: token request failed: {problem}. Check "
            "authority and tenant_id.",
            provider_name=self.provider_name,
            transient=False,
        ) from None

    def describe(self) -> Mapping[str, object]:
        """Return the provider's settings, without secrets."""
        return {
            **super().describe(),
            "authority": self._authority,
            "issuer": f"{self._authority}/{self._tenant_id}/v2.0",
            "tenant_id": self._tenant_id,
            "allowed_tenants": list(self._allowed_tenants),
            "client_id": self._client_id,
            "scope": self._scope,
            "grant_type": "client_credentials",
            "token_endpoint_auth_method": self._credential.method,
            **self._credential.describe(),
            "verify": self._transport.verify,
        }

    def identity(self) -> Mapping[str, object]:
        """Return the settings that identify the application: a token outlives its credential."""
        own = {"certificate_file", "federated_token_file", "token_endpoint_auth_method"}
        own |= {"allowed_tenants", "verify"}
        described = self.describe().items()
        return {name: value for name, value in described if name not in own}

    def __repr__(self) -> str:
        where = f"{self._authority}/{self._tenant_id}"
        return f"<{type(self).__name__} {self.provider_name!r} at {where}>"


def _transport(
    connect_timeout: float,
    read_timeout: float,
    total_timeout: float,
    verify: bool | str | os.PathLike[str] | None,
    session: requests.Session | None,
    clock: Clock,
) -> HttpTransport:
    return HttpTransport(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        total_timeout=total_timeout,
        verify=verify,
        session=session,
        clock=clock,
    )


def _checked_authority(authority: str | None, provider_name: str) -> str:
    """Return the origin of the login host, which is the environment's or the public cloud's."""
    if authority is None:
        authority = os.environ.get("AZURE_AUTHORITY_HOST") or PUBLIC_CLOUD
    return checked_host(authority, "authority", provider_name)


def _graph_of(authority: str) -> str:
    """Return the scope of Microsoft Graph in the cloud of *authority*."""
    graph = _GRAPHS.get(urlsplit(authority).hostname or "", "https://graph.microsoft.com")
    return f"{graph}/.default"


def _checked_region(region: object) -> str | None:
    """Return *region* if it can be the first label of a host's name."""
    if region is None:
        return None
    text = checked_text(region, "region")
    if not _REGION.fullmatch(text):
        raise InvalidConfigurationError(
            f"region {text!r} is not the name of a region, such as 'westeurope', nor 'auto'.",
            field="region",
        )
    return text


def _requests(region: str | None) -> int:
    """Return how many HTTP requests msal may make for a first token, one after the other.

    One is for the tenant's metadata. In a region, the machine and the region have more.
    """
    return 4 if region or os.environ.get("MSAL_FORCE_REGION") else 2


def _started_again(kind: type[AzureADProvider], state: Mapping[str, object]) -> BaseOAuth2Provider:
    provider = cast("AzureADProvider", made_again(kind, state))
    provider._start()  # noqa: SLF001 - function and class are one
    return provider
