"""What a client of an MCP server is configured with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tokenkeeper._support.arguments import check_instance, check_timeout, checked_callable
from tokenkeeper._support.checks import (
    checked_endpoint,
    checked_scope,
    checked_seconds,
    checked_text,
    shown_url,
)
from tokenkeeper._support.endpoints import checked_issuer
from tokenkeeper._support.redirects import checked_redirect_port
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.keeper import TokenKeeper, checked_keeper
from tokenkeeper.oauth.client_auth import ClientAuth
from tokenkeeper.oauth.registration import checked_client_metadata_url
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.providers.grants.sign_in import SignIn

__all__ = ["McpSettings", "checked_settings"]

OnSignIn = Callable[[str], object]
"""Shows a person the URL at which to sign in."""


@dataclass(frozen=True, slots=True, eq=False)
class McpSettings:
    """The parameters of :class:`~tokenkeeper.integrations.mcp.McpAuth`, checked. Immutable."""

    keeper: TokenKeeper
    url: str
    provider_name: str
    account: str | None
    scope: tuple[str, ...]
    client_id: str | None
    client_secret: str | None = field(repr=False)
    client_auth: ClientAuth | None
    issuer: str | None
    client_metadata_url: str | None
    client_name: str
    grant: Grant | None
    redirect_port: int | None
    custody: object = field(repr=False)
    on_sign_in: OnSignIn | None
    sign_in_timeout_seconds: float
    timeout: float | None
    verify: bool | str | None

    @property
    def origin(self) -> str:
        """The only origin that gets the token."""
        return _origin(self.url)


def checked_settings(
    keeper: TokenKeeper,
    url: str,
    *,
    provider_name: str | None,
    account: str | None,
    scope: str | Iterable[str] | None,
    client_id: str | None,
    client_secret: str | None,
    client_auth: ClientAuth | None,
    issuer: str | None,
    client_metadata_url: str | None,
    client_name: str,
    grant: Grant | None,
    redirect_port: int | None,
    custody: object,
    on_sign_in: OnSignIn | None,
    sign_in_timeout_seconds: float,
    timeout: float | None,
    verify: bool | str | None,
) -> McpSettings:
    """Return the settings.

    :raises InvalidConfigurationError: naming the first parameter that can't work.
    """
    checked_keeper(keeper)
    _check_url(url)
    _check_client(client_id, client_secret, client_auth, issuer)
    _check_others(provider_name, grant, redirect_port, on_sign_in, timeout)
    return McpSettings(
        keeper,
        url,
        provider_name or shown_url(url),
        None if account is None else checked_text(account, "account"),
        tuple((checked_scope(scope, "scope") or "").split()),
        client_id,
        client_secret,
        client_auth,
        None if issuer is None else checked_issuer(issuer),
        None if client_metadata_url is None else checked_client_metadata_url(client_metadata_url),
        checked_text(client_name, "client_name"),
        grant,
        redirect_port,
        custody,
        on_sign_in,
        checked_seconds(sign_in_timeout_seconds, "sign_in_timeout_seconds"),
        timeout,
        verify,
    )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_url(url: object) -> None:
    origin = _origin(checked_endpoint(url, "url"))
    try:
        AllowedHosts("", [origin])
    except InvalidConfigurationError:
        raise InvalidConfigurationError(
            "url must contain the name of a host in ASCII, such as xn--bcher-kva.example.com",
            field="url",
        ) from None


def _check_client(
    client_id: object, client_secret: object, client_auth: object, issuer: object
) -> None:
    if client_id is not None:
        checked_text(client_id, "client_id")
    if client_secret is not None:
        checked_text(client_secret, "client_secret")
    if client_secret is None and client_auth is None:
        return
    given = "client_auth" if client_secret is None else "client_secret"
    if client_id is None:
        raise InvalidConfigurationError(
            f"{given} needs client_id. Set it, or leave both out to have a client registered.",
            field="client_id",
        )
    if issuer is None:
        raise InvalidConfigurationError(
            f"{given} needs issuer, the authorization server that knows this client. Otherwise the "
            "MCP server would decide who receives its credentials.",
            field="issuer",
        )


def _check_others(
    provider_name: object,
    grant: object,
    redirect_port: int | None,
    on_sign_in: object,
    timeout: object,
) -> None:
    if provider_name is not None:
        checked_text(provider_name, "provider_name")
    if grant is not None:
        check_instance(grant, Grant, "grant", "such as ClientCredentials()")
        if isinstance(grant, SignIn):
            raise InvalidConfigurationError(
                "grant is for programs on their own. Leave it out to have a person sign in.",
                field="grant",
            )
    checked_redirect_port(redirect_port)
    if on_sign_in is not None:
        checked_callable(on_sign_in, "on_sign_in", "print")
    check_timeout(timeout)
