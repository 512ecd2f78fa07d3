"""Tokens of a managed identity, from the host in Azure that a service runs on.

msal's own client would ask the environment and keep a cache of its own, retry nothing, and insist
on its kind of HTTP client for Service Fabric. So the requests are made here, as all others: with a
limit for the time and the length of an answer, without redirects, and without a proxy.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, TypedDict, cast

from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._support.checks import checked_scope, checked_text, shown_url
from tokenkeeper._support.hiding import without_frames
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError, naming
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.exchange import Expected, HttpAnswer
from tokenkeeper.oauth.token_response import parse_token_response
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.managed_identity_hosts import IdentityHost, identity_host
from tokenkeeper.providers.reacquire import reacquire
from tokenkeeper.providers.this_machine import this_machine

if TYPE_CHECKING:
    from tokenkeeper.oauth.transport import HttpTransport
    from tokenkeeper.retry import RetryPolicy

__all__ = ["ManagedIdentityProvider", "resource_of"]

LONGEST_KEY_FILE = 4096
"""In bytes, as the agent of Azure Arc promises."""

RESTART_SECONDS = 20.0
"""How long to wait after HTTP 410 of the metadata service, which restarts within 70 seconds."""

_DEFAULT = "/.default"
_IDS = ("client_id", "object_id", "resource_id")


class _Timeouts(TypedDict):
    """The time limits of a transport, in seconds."""

    connect_timeout: float
    read_timeout: float
    total_timeout: float


class ManagedIdentityProvider(BaseOAuth2Provider):
    """Gets the tokens of a managed identity from the host that the service runs on. Thread-safe.

    The environment says which host that is: App Service and Functions, Service Fabric, Azure
    Machine Learning, Azure Arc, Cloud Shell, or else a virtual machine (also under a container or
    Kubernetes), whose metadata service is asked. No request is sent before the first token is
    needed.

    :param provider_name: the name to register the provider under, and to request tokens by.
    :param scope: the API, as a scope that ends in ``/.default`` or as its identifier alone.
    :param client_id: the client ID of an identity that is assigned to the host; by default the
        host's own identity. Set one of three at most.
    :param object_id: the object (principal) ID of that identity, in its place.
    :param resource_id: the Azure resource ID of that identity, in its place.
    :param connect_timeout: how many seconds to wait for a connection; 2 by default, as the host is
        near if there is one.
    :param read_timeout: how many seconds to wait for each piece of the response; 10 by default.
    :param total_timeout: how many seconds one request may take in total; 30 by default.
    :param clock: the source of time; by default the system's. In tests, pass the keeper's.
    :param buffer_seconds: how long before its expiry a token is renewed; 300 by default.
    :param retry: how to retry transient failures; by default the keeper's policy.
    :raises InvalidConfigurationError: for an option that can't work.
    """

    takes: frozenset[str] = frozenset({"scope"})

    def __init__(
        self,
        provider_name: str,
        scope: str,
        *,
        client_id: str | None = None,
        object_id: str | None = None,
        resource_id: str | None = None,
        connect_timeout: float = 2.0,
        read_timeout: float = 10.0,
        total_timeout: float = 30.0,
        clock: Clock = SYSTEM_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(provider_name, buffer_seconds=buffer_seconds, retry=retry)
        given = zip(_IDS, (client_id, object_id, resource_id), strict=True)
        with naming(provider_name):
            self._scope = scope
            resource_of(scope)
            self._ids = {
                name: checked_text(value, name) for name, value in given if value is not None
            }
            if len(self._ids) > 1:
                first, second, *_ = self._ids
                raise InvalidConfigurationError(
                    f"{second} can't be combined with {first}: each names one identity. Remove one "
                    "of them.",
                    field=second,
                )
            self._timeouts: _Timeouts = {
                "connect_timeout": connect_timeout,
                "read_timeout": read_timeout,
                "total_timeout": total_timeout,
            }
            self._clock = clock
            self._transport = _transport(self._timeouts, clock)
        self.longest_request_seconds: float = 2 * total_timeout  # Azure Arc is asked twice
        self._warned: set[str] = set()

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return the same identity for another API."""
        with naming(self.provider_name):
            scope = parameters.scope or self._scope
            resource_of(scope)
        twin = super().variant(name, parameters)
        vars(twin).update(_scope=scope)
        return twin

    @without_frames
    def acquire_token(self) -> OAuth2Token:
        """Ask the host for a token, once. It may be one that the host has kept."""
        return self._ask(None)

    @without_frames
    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Ask the host again: there are no refresh tokens."""
        return cast("OAuth2Token", reacquire(self))

    @without_frames
    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token:
        """Ask the host for another token than *token*; only Service Fabric can be asked that."""
        return self._ask(token.access_token)

    def _ask(self, refused: str | None) -> OAuth2Token:
        host = identity_host(os.environ)
        parameters = self._parameters(host)
        if refused is not None and host.kind == "service_fabric":
            parameters["token_sha256_to_refresh"] = hashlib.sha256(refused.encode()).hexdigest()
        secrets = [host.secret] if host.secret else []
        sent_at = self._clock.time()
        answer = self._send(host, parameters)
        if host.kind == "arc" and answer.status == 401:
            key = self._arc_key(answer)
            secrets.append(key)
            answer = self._send(host, parameters, authorization=f"Basic {key}")
        expected = Expected(self.provider_name, sent_at, self._scope, secrets, warned=self._warned)
        try:
            token = parse_token_response(answer, expected)
        except TokenAcquisitionError as error:
            _explain(error, host)
            raise
        if host.kind == "arc":
            self._check_identity(token)
        return token

    def _parameters(self, host: IdentityHost) -> dict[str, str]:
        """Return the parameters of a request to *host*."""
        parameters = {"api-version": host.api_version, "resource": resource_of(self._scope)}
        for name, value in self._ids.items():
            if name not in host.id_names:
                raise InvalidConfigurationError(
                    f"provider {self.provider_name!r}: {name} can't be set on {host.title}, where "
                    "the identity is part of the deployment. Remove it.",
                    provider_name=self.provider_name,
                    field=name,
                )
            parameters[host.id_names[name]] = value
        return {name: value for name, value in parameters.items() if value}

    def _send(
        self, host: IdentityHost, parameters: Mapping[str, str], authorization: str | None = None
    ) -> HttpAnswer:
        transport = self._transport
        if host.thumbprint:
            transport = _pinned_transport(self._timeouts, self._clock, host, self.provider_name)
        is_post = host.kind == "cloud_shell"
        return transport.request(
            "POST" if is_post else "GET",
            host.url,
            provider_name=self.provider_name,
            authorization=authorization,
            data=parameters if is_post else None,
            headers=host.headers,
            params=None if is_post else parameters,
        )

    def _arc_key(self, answer: HttpAnswer) -> str:
        """Return the content of the file that *answer* names.

        Only an administrator may read it, and the agent wrote it for this request. A process that
        has the agent's port must not make us read, and send it, another file.
        """
        header = answer.headers.get("www-authenticate", "")
        path = header.partition("realm=")[2].strip().strip('"')
        folder = _arc_folder()
        if os.path.dirname(path) != folder or not path.endswith(".key"):
            raise self._error(f"Azure Arc named a file that is not a .key file in {folder}")
        try:
            with open(path, "rb") as file:
                content = file.read(LONGEST_KEY_FILE + 1)
        except OSError as error:
            problem = error.strerror or type(error).__name__
        else:
            if len(content) <= LONGEST_KEY_FILE and content.strip().isascii():
                return content.strip().decode()
            problem = f"it has more than {LONGEST_KEY_FILE} bytes, or is not text"
        raise self._error(
            f"can't read the key file of Azure Arc: {problem}. Add this user to the group himds"
        )

    def _check_identity(self, token: OAuth2Token) -> None:
        """Raise if *token* is not of the identity that was asked for.

        Older agents of Azure Arc ignore the parameter, and return the machine's own identity.
        """
        for name, value in self._ids.items():
            names = ("msi_res_id", "mi_res_id") if name == "resource_id" else (name,)
            found = [str(token.extra[each]) for each in names if token.extra.get(each)]
            if not any(each.lower() == value.lower() for each in found):
                raise self._error(
                    f"Azure Arc granted a token of another identity than this {name}. Update its "
                    f"agent, or remove {name}"
                )

    def _error(self, problem: str) -> TokenAcquisitionError:
        return TokenAcquisitionError(
            f"provider {self.provider_name!r}: {problem}.",
            provider_name=self.provider_name,
            transient=False,
        )

    def describe(self) -> Mapping[str, object]:
        """Return the provider's settings. It has no secret of its own."""
        return {
            **super().describe(),
            "token_url": shown_url(identity_host(os.environ).url),
            **self._described(),
        }

    def identity(self) -> Mapping[str, object]:
        """Return the identity and the API.

        Machines share the tokens of an identity that they name, and none of their own identities.
        """
        own = {} if self._ids else {"machine": this_machine()}
        return {**self._described(), **own}

    def _described(self) -> dict[str, object]:
        return {"scope": self._scope, "client_id": ", ".join(self._ids.values()) or "this host's"}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.provider_name!r} for {self._scope}>"


def resource_of(scope: object) -> str:
    """Return the identifier of the API that *scope* is for.

    :raises InvalidConfigurationError: if it is not one API.
    """
    text = checked_scope(checked_text(scope, "scope"), "scope")
    resource = (text or "").removesuffix(_DEFAULT)
    if " " in resource or not resource:
        raise InvalidConfigurationError(
            f"scope {text!r} is not one API. Name one, and append '/.default'.", field="scope"
        )
    return resource


def _explain(error: TokenAcquisitionError, host: IdentityHost) -> None:
    """Add to *error* what *host* means, where it differs from other servers."""
    status = error.status_code or 0
    if host.kind == "imds" and (status in (404, 410, 429) or status >= 500):
        # Documented as passing: the service restarts, or has not begun to know the identity.
        error.transient = True
        if status == 410 and error.retry_after is None:
            error.retry_after = RESTART_SECONDS
    if 400 <= status < 500 and not error.transient:
        # The advice for authorization servers is about settings that there are not.
        words = f' ("{error.error_description}")' if error.error_description else ""
        reason = f": {error.error}{words}" if error.error else words
        failed = f"provider {error.provider_name!r}: {host.title} grants no token (HTTP {status})"
        advice = "Check that the identity is assigned to this host, and that the scope is an API's."
        error.args = (f"{failed}{reason}. {advice}",)


def _arc_folder() -> str:
    """Return where the agent of Azure Arc keeps its key files."""
    if sys.platform == "win32":
        data = os.environ.get("PROGRAMDATA", "C:\\ProgramData")
        return os.path.join(data, "AzureConnectedMachineAgent", "Tokens")
    return "/var/opt/azcmagent/tokens"


def _transport(timeouts: _Timeouts, clock: Clock) -> HttpTransport:
    with forks_wait():  # with requests, which is loaded late
        from tokenkeeper.oauth.transport import HttpTransport
    return HttpTransport(**timeouts, clock=clock)


def _pinned_transport(
    timeouts: _Timeouts, clock: Clock, host: IdentityHost, provider_name: str
) -> HttpTransport:
    """Return a transport for *host*, whose certificate has no known issuer."""
    with forks_wait():
        from tokenkeeper.oauth.pinned_sessions import pinned_session
        from tokenkeeper.oauth.transport import HttpTransport
    with naming(provider_name):
        session = pinned_session(host.url, host.thumbprint, "IDENTITY_SERVER_THUMBPRINT")
    return HttpTransport(**timeouts, clock=clock, verify=False, session=session)
