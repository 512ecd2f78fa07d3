"""Microsoft's msal, with our HTTP client and without its caches.

msal gets our HTTP client, which raises our errors for bad responses before msal sees them. So
msal's throttle, which replays errors, never keeps one, and no response is parsed twice. msal also
gets a token cache that stores nothing, so that a renewal really sends a request.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NoReturn
from urllib.parse import urlsplit

from cachetools import LRUCache

from tokenkeeper._runtime.fork import late_import
from tokenkeeper._support.checks import checked_endpoint
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.claims_challenge import is_claims
from tokenkeeper.oauth.exchange import Expected, HttpAnswer, LateSecrets
from tokenkeeper.oauth.granted_scope import warn_if_narrowed
from tokenkeeper.oauth.secret_parameters import secret_values
from tokenkeeper.oauth.token_response import parse_token_response
from tokenkeeper.oauth.transport import HttpTransport
from tokenkeeper.providers.azure_credentials import EntraCredential

__all__ = ["CLIENT", "ON_BEHALF_OF", "MsalClient"]

CLIENT = "client_credentials"
"""The grant for a token of the application itself (RFC 6749 §4.4)."""

ON_BEHALF_OF = "urn:ietf:params:oauth:grant-type:jwt-bearer"
"""The grant for a token on behalf of a user: Entra ID's own use of RFC 7523 §2.1."""

MOST_TENANTS = 1000
"""How many applications are kept, one for each tenant. Each takes about 9 KB of memory, and to make
it again costs a request for the tenant's metadata."""

_MACHINE = "169.254.169.254"
"""Where a machine in Azure has its metadata."""


class MsalClient:
    """A confidential client of one cloud, in any number of tenants. Thread-safe.

    :param authority: the login host, as a URL.
    :param transport: sends the requests.
    :param region: the region whose endpoint to use, ``auto`` to find out, or ``None``.
    :param capabilities: what the client can do, such as ``CP1``.
    """

    def __init__(
        self,
        provider_name: str,
        client_id: str,
        credential: EntraCredential,
        authority: str,
        transport: HttpTransport,
        clock: Clock,
        *,
        region: str | None = None,
        capabilities: tuple[str, ...] = (),
    ) -> None:
        self._client_id = client_id
        self._credential = credential
        self._authority = authority
        self._region = region
        self._capabilities = capabilities
        self._http = _MsalHttp(transport, clock, provider_name, credential.secrets(), region)
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Drop msal's applications with their locks, which belong to the parent."""
        self._lock = threading.Lock()  # guards what is below
        self._making: dict[str, threading.Lock] = {}  # by tenant: one makes its application
        # By tenant: each has an authority of its own. Those used last are kept.
        self._applications: LRUCache[str, Any] = LRUCache(MOST_TENANTS)

    def acquire_token(
        self, tenant_id: str, scope: str, *, subject: str | None = None, claims: str | None = None
    ) -> OAuth2Token | None:
        """Request a token, once; ``None`` if msal sent no request.

        :param subject: the token of the user to act for; ``None``, the default, acts for the
            application itself.
        :param claims: what an API demands of the token, as JSON; nothing by default.
        """
        wanted: dict[str, Any] = {"scopes": scope.split(" ")}
        if claims is not None:
            wanted["claims_challenge"] = claims

        def ask() -> None:
            application = self._application(tenant_id)
            if subject is None:
                application.acquire_token_for_client(**wanted)
            else:
                application.acquire_token_on_behalf_of(subject, **wanted)

        return self._http.granted_in(scope, CLIENT if subject is None else ON_BEHALF_OF, ask)

    def _application(self, tenant_id: str) -> Any:
        with self._lock:
            application = self._applications.get(tenant_id)
            if application is not None:
                return application
            making = self._making.setdefault(tenant_id, threading.Lock())
        with making:  # msal requests the metadata of this tenant, and others do not wait for it
            with self._lock:
                application = self._applications.get(tenant_id)
            try:
                if application is None:
                    application = self._make_application(tenant_id)
            finally:
                with self._lock:
                    self._making.pop(tenant_id, None)
                    if application is not None:
                        self._applications[tenant_id] = application
        return application

    def _make_application(self, tenant_id: str) -> Any:
        msal = late_import("msal")
        authority = late_import("msal.authority")

        class NoTokenCache(msal.TokenCache):  # type: ignore[name-defined,misc]  # imported late
            """Stores nothing: the keeper caches tokens."""

            def add(self, event: Any, now: Any = None) -> None:
                pass

            def search(self, *_: Any, **__: Any) -> Iterable[Any]:
                return ()

        host = urlsplit(self._authority).hostname
        made: list[Any] = []
        made.append(
            msal.ConfidentialClientApplication(
                self._client_id,
                client_credential=self._credential.for_msal(
                    lambda: str(made[0].authority.token_endpoint),
                    is_adfs=tenant_id.lower() == "adfs",
                ),
                authority=f"{self._authority}/{tenant_id}",
                http_client=self._http,
                token_cache=NoTokenCache(),
                instance_discovery=None if host in authority.WELL_KNOWN_AUTHORITY_HOSTS else False,
                azure_region=True if self._region == "auto" else self._region,
                client_capabilities=list(self._capabilities) or None,
                # A refresh token would outlive the user's, and is not used.
                exclude_scopes=["offline_access"],
            )
        )
        return made[0]


class _MsalHttp:
    """The HTTP client for msal. It returns good responses and raises our errors for others."""

    def __init__(
        self,
        transport: HttpTransport,
        clock: Clock,
        provider_name: str,
        secrets: list[str],
        region: str | None = None,
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._provider_name = provider_name
        self._secrets = secrets
        self._region = region
        self._warned: set[str] = set()
        self._call = threading.local()  # what this thread asks for, and what it got

    def granted_in(self, scope: str, grant: str, ask: Callable[[], object]) -> OAuth2Token | None:
        """Return the token that is granted while *ask* runs, for *scope* by *grant*."""
        self._call.scope, self._call.grant, self._call.token = scope, grant, None
        ask()
        token: OAuth2Token | None = self._call.token
        return token

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
        expected = self._expected(data or {})
        answer = self._send("POST", url, params=params, data=data, headers=headers)
        try:
            token = parse_token_response(answer, expected)
        except TokenAcquisitionError as error:
            error.claims = _claims_in(answer)
            raise
        # No refresh token is asked for, and one that is not kept can't be stolen.
        token = self._call.token = replace(token, refresh_token=None)
        # Entra ID accepts only /.default, which is never reported. AD FS may grant a part.
        warn_if_narrowed(token, self._call.scope, expected)
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
        """Fetch a discovery document, or what a machine in Azure says of itself."""
        region = self._region or os.environ.get("MSAL_FORCE_REGION")  # as msal decides
        if urlsplit(url).hostname == _MACHINE and region not in (None, "auto"):
            # msal asks even if a region is configured, to compare them. Elsewhere than in Azure
            # that takes until the timeout.
            return _MsalAnswer(200, {"location": region})
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
        return self._transport.request(method, url, provider_name=self._provider_name, **request)

    def _expected(self, data: Mapping[str, Any]) -> Expected:
        return Expected(
            self._provider_name,
            self._clock.time(),
            self._call.scope,
            LateSecrets(lambda: [*self._secrets, *secret_values(data)]),
            grant=self._call.grant,
            warned=self._warned,
        )

    def _refuse_discovery(self, answer: HttpAnswer, document: object) -> NoReturn:
        if isinstance(document, dict) and "error" in document:
            parse_token_response(answer, self._expected({}))  # raises the error
        raise TokenAcquisitionError(
            f"provider {self._provider_name!r}: could not read the authority's metadata "
            f"(HTTP {answer.status}). Check authority and tenant_id.",
            provider_name=self._provider_name,
            status_code=answer.status,
            transient=None if answer.status >= 400 else False,
        )


def _claims_in(answer: HttpAnswer) -> str | None:
    """Return the claims that *answer*, a refusal, demands of the user's next sign-in."""
    try:
        claims = json.loads(answer.body)["claims"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return claims if isinstance(claims, str) and is_claims(claims) else None


class _MsalAnswer:
    """A response in the form that msal expects, without headers that trigger its throttle."""

    def __init__(self, status: int, content: Mapping[str, Any] | None) -> None:
        self.status_code = status
        self.text = json.dumps(content)
        self.headers: dict[str, str] = {}

    def raise_for_status(self) -> None:
        """Do nothing: bad responses never get here."""
