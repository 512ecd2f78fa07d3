"""The credentials that a process may have in Azure, by the names that azure-identity gives them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from tokenkeeper.exceptions import InvalidConfigurationError, OAuth2Error, TokenAcquisitionError
from tokenkeeper.providers.azure_tools import (
    AZURE_CLI,
    AZURE_DEVELOPER_CLI,
    AZURE_POWERSHELL,
    DeveloperTool,
    ToolProvider,
)
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.managed_identity import ManagedIdentityProvider

__all__ = ["CREDENTIALS", "UnavailableError", "chosen_credentials", "default_of"]

VARIABLE = "AZURE_TOKEN_CREDENTIALS"

PROBE_SECONDS = 1.0
"""How long to wait for a connection to the metadata service, which only machines in Azure have."""

Settings = Mapping[str, Any]


class UnavailableError(Exception):
    """The environment does not describe a credential. The text says what is missing."""


class _Credential(NamedTuple):
    """One way to a token.

    :ivar make: returns its provider, or raises :class:`UnavailableError`.
    :ivar is_unavailable: returns whether an error of that provider means that this process does
        not have the credential, rather than that it was refused.
    :ivar is_developers: whether a developer has it, rather than a service.
    """

    make: Callable[[Settings], BaseOAuth2Provider]
    is_unavailable: Callable[[OAuth2Error], bool]
    is_developers: bool = False


def _application(settings: Settings, **credential: Any) -> BaseOAuth2Provider:
    from tokenkeeper.providers.azure import AzureADProvider  # with requests, which is loaded late

    return AzureADProvider(
        settings["provider_name"],
        os.environ["AZURE_CLIENT_ID"],
        tenant_id=os.environ["AZURE_TENANT_ID"],
        scope=default_of(settings["scope"]),
        clock=settings["clock"],
        **credential,
    )


def default_of(scope: str) -> str:
    """Return *scope*, an API, in the form in which an application requests it."""
    return scope if scope.endswith("/.default") else f"{scope}/.default"


def _check_variables(*names: str) -> None:
    missing = [name for name in names if not os.environ.get(name)]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UnavailableError(f"{' and '.join(missing)} {verb} not set")


def _environment(settings: Settings) -> BaseOAuth2Provider:
    if os.environ.get("AZURE_CLIENT_SECRET") or not os.environ.get("AZURE_CLIENT_CERTIFICATE_PATH"):
        _check_variables("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET")
        return _application(settings, client_secret=os.environ["AZURE_CLIENT_SECRET"])
    _check_variables("AZURE_CLIENT_ID", "AZURE_TENANT_ID")
    return _application(
        settings,
        certificate_file=os.environ["AZURE_CLIENT_CERTIFICATE_PATH"],
        certificate_password=os.environ.get("AZURE_CLIENT_CERTIFICATE_PASSWORD") or None,
        send_x5c=os.environ.get("AZURE_CLIENT_SEND_CERTIFICATE_CHAIN", "").lower() in ("1", "true"),
    )


def _workload(settings: Settings) -> BaseOAuth2Provider:
    _check_variables("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE")
    return _application(settings, federated_token_file=os.environ["AZURE_FEDERATED_TOKEN_FILE"])


def _managed(settings: Settings) -> BaseOAuth2Provider:
    return ManagedIdentityProvider(
        settings["provider_name"],
        settings["scope"],
        client_id=settings["client_id"] or os.environ.get("AZURE_CLIENT_ID") or None,
        connect_timeout=PROBE_SECONDS,
        clock=settings["clock"],
    )


def _is_no_host(error: OAuth2Error) -> bool:
    """Return whether *error* of a managed identity means that there is none.

    Elsewhere than in Azure nothing answers, or Docker Desktop does, because it can't reach the
    service. HTTP 400 means that no identity is assigned.
    """
    if isinstance(error, TokenAcquisitionError):
        is_dockers = error.status_code == 403 and "unreachable" in str(error)
        return error.network_reason is not None or error.status_code == 400 or is_dockers
    return isinstance(error, InvalidConfigurationError)


def _by(tool: DeveloperTool) -> _Credential:
    def make(settings: Settings) -> BaseOAuth2Provider:
        return ToolProvider(
            settings["provider_name"],
            tool,
            default_of(settings["scope"]),
            tenant_id=settings["tenant_id"],
            process_timeout=settings["process_timeout"],
        )

    return _Credential(make, lambda _: True, is_developers=True)


CREDENTIALS: Mapping[str, _Credential] = {
    "EnvironmentCredential": _Credential(_environment, lambda _: False),
    "WorkloadIdentityCredential": _Credential(_workload, lambda _: False),
    "ManagedIdentityCredential": _Credential(_managed, _is_no_host),
    "AzureCliCredential": _by(AZURE_CLI),
    "AzurePowerShellCredential": _by(AZURE_POWERSHELL),
    "AzureDeveloperCliCredential": _by(AZURE_DEVELOPER_CLI),
}
"""In the order in which they are tried."""


def chosen_credentials(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the credentials to try, in order.

    :raises InvalidConfigurationError: if ``AZURE_TOKEN_CREDENTIALS`` names another one.
    """
    choice = environment.get(VARIABLE, "").strip().lower()
    if choice in ("", "dev", "prod"):
        wanted = {"": (True, False), "dev": (True,), "prod": (False,)}[choice]
        return [name for name, each in CREDENTIALS.items() if each.is_developers in wanted]
    for name in CREDENTIALS:
        if name.lower() == choice:
            return [name]
    raise InvalidConfigurationError(
        f"{VARIABLE} must be 'dev', 'prod', or one of {', '.join(CREDENTIALS)}.", field=VARIABLE
    )
