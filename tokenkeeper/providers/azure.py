"""Tokens from Microsoft Entra ID (Azure AD), through msal.

msal gets our HTTP client, which raises our errors for bad responses before msal sees them. So
msal's throttle, which replays errors, never keeps one, and no response is parsed twice. msal also
gets a token cache that stores nothing, so that a renewal really sends a request.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast
from urllib.parse import urlsplit

from tokenkeeper._runtime.fork import late_import, renew_after_fork
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper._support.checks import (
    checked_endpoint,
    checked_host,
    checked_tenant,
    checked_text,
    one_scope,
)
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import (
    OAuth2Error,
    TokenAcquisitionError,
    naming,
)
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.oauth.client_auth import client_auth
from tokenkeeper.oauth.granted_scope import warn_if_narrowed
from tokenkeeper.oauth.token_response import Expected, HttpAnswer, parse_token_response
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.reacquire import reacquire

if TYPE_CHECKING:
    import requests

    from tokenkeeper.retry import RetryPolicy

__all__ = ["AzureADProvider"]

PUBLIC_CLOUD = "https://login.microsoftonline.com"

# Each cloud has a Microsoft Graph of its own.
_GRAPH_OF = {
    "login.microsoftonline.us": "https://graph.microsoft.us",
    "login.chinacloudapi.cn": "https://microsoftgraph.chinacloudapi.cn",
    "login.partner.microsoftonline.cn": "https://microsoftgraph.chinacloudapi.cn",
}


class AzureADProvider(BaseOAuth2Provider):
    """Gets tokens from Microsoft Entra ID with a client secret. Thread-safe.

    It uses the client credentials grant (RFC 6749 §4.4). No server is contacted, and msal is not
    imported, before the first token is needed.

    :param provider_name: the name to register the provider under, and to request tokens by.
    :param client_id: the application (client) ID.
    :param client_secret: the secret's value, not its id.
    :param tenant_id: the tenant's GUID or one of its domains.
    :param scope: the scope to request (RFC 6749 §3.3), a string or a list, usually one that ends in
        ``/.default``; by default the one of Microsoft Graph in the same cloud.
    :param scopes: an older name for *scope*.
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

    def __init__(
        self,
        provider_name: str,
        client_id: str,
        client_secret: str,
        tenant_id: str,
        scope: str | Iterable[str] | None = None,
        *,
        scopes: str | Iterable[str] | None = None,
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
        self._client_secret = checked_text(client_secret, "client_secret", name)
        self._tenant_id = checked_tenant(tenant_id, "tenant_id", name)
        if authority is None:
            authority = os.environ.get("AZURE_AUTHORITY_HOST") or PUBLIC_CLOUD
        self._authority = checked_host(authority, "authority", name)
        host = urlsplit(self._authority).hostname or ""
        graph = _GRAPH_OF.get(host, "https://graph.microsoft.com")
        self._scope = one_scope(scope, scopes, name) or f"{graph}/.default"
        with naming(name):
            transport = HttpTransport(
                connect_timeout=connect_timeout,
                read_timeout=read_timeout,
                total_timeout=total_timeout,
                verify=verify,
                session=session,
                clock=clock,
            )
        client = client_auth("client_secret_post", client_id, client_secret)
        self._http = _MsalHttp(transport, clock, name, self._scope, client.secrets())
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Drop msal's application with its locks, which belong to the parent."""
        self._lock = threading.Lock()  # guards the creation of _app
        self._app: Any = None

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Request a token by client credentials, once (RFC 6749 §4.4)."""
        before = sys.exception()
        try:
            with self._lock:
                if self._app is None:
                    self._app = self._make_app()
                app = self._app
            self._http.granted.token = None
            app.acquire_token_for_client(scopes=self._scope.split(" "))
            token: OAuth2Token | None = self._http.granted.token
        except OAuth2Error:
            raise
        except Exception as error:  # noqa: BLE001 - msal raises many kinds
            if (thrown := interruption_in(error, before)) is not None:
                raise thrown from None
            # Its text may contain what the server sent, so the original is dropped.
            self._fail(f"msal failed with {type(error).__name__}")
        if token is None:
            self._fail("msal did not send a request")
        return token

    @without_frames
    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Request a new token: client credentials have no refresh token (RFC 6749 §4.4.3)."""
        return cast("OAuth2Token", reacquire(self))

    def _make_app(self) -> Any:
        msal = late_import("msal")
        authority = late_import("msal.authority")

        class NoTokenCache(msal.TokenCache):  # type: ignore[name-defined,misc]  # imported late
            """Stores nothing: the keeper caches tokens."""

            def add(self, event: Any, now: Any = None) -> None:
                pass

            def search(self, *_: Any, **__: Any) -> Iterable[Any]:
                return ()

        host = urlsplit(self._authority).hostname
        return msal.ConfidentialClientApplication(
            self._client_id,
            client_credential=self._client_secret,
            authority=f"{self._authority}/{self._tenant_id}",
            http_client=self._http,
            token_cache=NoTokenCache(),
            instance_discovery=None if host in authority.WELL_KNOWN_AUTHORITY_HOSTS else False,
        )

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
            "client_id": self._client_id,
            "scope": self._scope,
            "grant_type": "client_credentials",
            "token_endpoint_auth_method": "client_secret_post",
            "verify": self._http.transport.verify,
        }

    def __repr__(self) -> str:
        where = f"{self._authority}/{self._tenant_id}"
        return f"<{type(self).__name__} {self.provider_name!r} at {where}>"


class _MsalHttp:
    """The HTTP client for msal. It returns good responses and raises our errors for others."""

    def __init__(
        self,
        transport: HttpTransport,
        clock: Clock,
        provider_name: str,
        scope: str,
        secrets: list[str],
    ) -> None:
        self.transport = transport
        self.granted = threading.local()  # the last token granted to this thread
        self._clock = clock
        self._provider_name = provider_name
        self._scope = scope
        self._secrets = secrets
        self._warned: set[str] = set()

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _MsalAnswer:
        """Send a token request."""
        # The URL comes from the discovery document, and the secret is sent there.
        checked_endpoint(url, "token_endpoint", self._provider_name)
        expected = self._expected()
        answer = self._send("POST", url, params=params, data=data, headers=headers)
        token = self.granted.token = parse_token_response(answer, expected)
        # Entra ID accepts only /.default, which is never reported. AD FS may grant a part.
        warn_if_narrowed(token, self._scope, expected)
        # msal validates other members more strictly than we do, and its result is not used.
        read = {"access_token": token.access_token, "token_type": "Bearer", "expires_in": 3600}
        return _MsalAnswer(answer.status, read)

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _MsalAnswer:
        """Fetch a discovery document."""
        answer = self._send("GET", url, params=params, headers=headers)
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not answer.ok or not isinstance(document, dict):
            self._refuse_discovery(answer, document)
        return _MsalAnswer(answer.status, document)

    def close(self) -> None:
        """Do nothing: the transport belongs to the provider."""

    def _send(self, method: str, url: str, **request: Any) -> HttpAnswer:
        return self.transport.request(method, url, provider_name=self._provider_name, **request)

    def _expected(self) -> Expected:
        return Expected(
            self._provider_name,
            self._clock.time(),
            self._scope,
            self._secrets,
            grant="client_credentials",
            warned=self._warned,
        )

    def _refuse_discovery(self, answer: HttpAnswer, document: object) -> NoReturn:
        if isinstance(document, dict) and "error" in document:
            parse_token_response(answer, self._expected())  # raises the error
        raise TokenAcquisitionError(
            f"provider {self._provider_name!r}: could not read the authority's metadata "
            f"(HTTP {answer.status}). Check authority and tenant_id.",
            provider_name=self._provider_name,
            status_code=answer.status,
            transient=None if answer.status >= 400 else False,
        )


class _MsalAnswer:
    """A response in the form that msal expects, without headers that trigger its throttle."""

    def __init__(self, status: int, content: Mapping[str, Any] | None) -> None:
        self.status_code = status
        self.text = json.dumps(content)
        self.headers: dict[str, str] = {}

    def raise_for_status(self) -> None:
        """Do nothing: bad responses never get here."""
