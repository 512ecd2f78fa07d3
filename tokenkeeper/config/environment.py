"""Clients that the environment describes: ``AZURE_*``, ``OAUTH2_*``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenkeeper.config.files import located, read_secret, warn_if_readable
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider

__all__ = [
    "CONFIG_VARIABLE",
    "Client",
    "client_from_environment",
    "clients_from_environment",
]

CONFIG_VARIABLE = "TOKENKEEPER_CONFIG"
"""Names a file, which then counts alone."""

OAUTH2 = ("OAUTH2_CLIENT_ID", "OAUTH2_CLIENT_SECRET", "OAUTH2_TOKEN_URL")
AZURE = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID")
_FAMILIES = {"azure": AZURE, "oauth2": OAUTH2}
_FAMILY_OF_NAME = {**_FAMILIES, "generic": OAUTH2}


@dataclass(frozen=True)
class Client:
    """What a provider is made from. Equal ones make equal providers.

    :ivar kind: "azure" or "generic".
    :ivar where: the tenant, or the token endpoint.
    :ivar authority: of Entra ID, the login host.
    """

    provider_name: str
    kind: str
    client_id: str
    secret: str = field(repr=False)
    where: str
    scope: str | None = None
    authority: str | None = None

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        name, client_id, secret = self.provider_name, self.client_id, self.secret
        if self.kind == "azure":
            return AzureADProvider(
                name, client_id, secret, self.where, self.scope, authority=self.authority
            )
        return GenericOAuth2Provider(OAuth2Config(name, client_id, secret, self.where, self.scope))


def clients_from_environment(
    environment: Mapping[str, str], directory: Path = Path()
) -> dict[str, Client]:
    """Return the clients ``azure`` and ``oauth2``, as far as *environment* describes them.

    One that is described in part counts for nothing beside one that is whole: platforms set some
    of Azure's variables by themselves.

    :param directory: where a secret's file is, unless its variable says otherwise.
    :raises InvalidConfigurationError: if it describes none as a whole.
    """
    present = _present(environment)
    whole = [n for n, family in _FAMILIES.items() if all(each in present for each in family)]
    begun = [n for n, family in _FAMILIES.items() if any(each in present for each in family)]
    names = whole or begun or ["oauth2"]
    return {name: client_from_environment(name, environment, directory) for name in names}


def client_from_environment(
    name: str, environment: Mapping[str, str], directory: Path = Path()
) -> Client:
    """Return the client that *environment* describes, for a provider called *name*.

    :param directory: where a secret's file is, unless its variable says otherwise.
    :raises InvalidConfigurationError: naming what is missing, or wrong.
    """
    present = _present(environment)
    family = _family(name, present)
    missing = [variable for variable in family if variable not in present]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InvalidConfigurationError(
            f"{_listed(missing)} {verb} not set (an empty variable counts as not set)",
            provider_name=name,
            field=missing[0],
        )
    prefix, _, _ = family[0].partition("_")
    secret_from = _one_of(present, family[1], f"{family[1]}_FILE")
    scope_from = _one_of(present, f"{prefix}_SCOPE", f"{prefix}_SCOPES")
    client = Client(
        name,
        "azure" if family is AZURE else "generic",
        present[family[0]],
        _secret(secret_from, present, directory),
        present[family[2]],
        present.get(scope_from),
        present.get("AZURE_AUTHORITY_HOST") if family is AZURE else None,
    )
    try:
        client.make_provider()
    except InvalidConfigurationError as problem:
        variable = {
            "client_secret": secret_from,
            "scope": scope_from,
            "scopes": scope_from,
            "authority": "AZURE_AUTHORITY_HOST",
        }.get(problem.field or "", f"{prefix}_{problem.field}".upper())
        if variable in present:
            problem.args = (f"{problem}; it was read from {variable}",)
        raise
    return client


def _secret(variable: str, present: Mapping[str, str], directory: Path) -> str:
    """Return the secret that *variable* holds, or the file that it names."""
    if not variable.endswith("_FILE"):
        return present[variable]
    file = located(directory, present[variable])
    try:
        secret = read_secret(file)
    except InvalidConfigurationError as problem:
        raise InvalidConfigurationError(f"{variable} {problem}", field=variable) from None
    warn_if_readable(file)
    return secret


def _one_of(present: Mapping[str, str], one: str, other: str) -> str:
    """Return the variable of the two that is set, or the first.

    :raises InvalidConfigurationError: if both are.
    """
    given = [name for name in (one, other) if present.get(name)]
    if len(given) == 2:
        raise InvalidConfigurationError(f"{one} and {other} are both set: one must go", field=other)
    return given[0] if given else one


def _family(name: str, present: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that describe the client *name*."""
    begun = [each for each in (OAUTH2, AZURE) if any(variable in present for variable in each)]
    if not begun:
        raise InvalidConfigurationError(
            "no client is described by the environment: set "
            f"{_listed(OAUTH2)} (and OAUTH2_SCOPE, if need be), or {_listed(AZURE)}",
            provider_name=name,
        )
    if len(begun) == 1:
        return begun[0]
    if name in _FAMILY_OF_NAME:
        return _FAMILY_OF_NAME[name]
    complete = [each for each in begun if all(variable in present for variable in each)]
    if len(complete) == 1:
        return complete[0]
    raise InvalidConfigurationError(
        "both OAUTH2_* and AZURE_* variables are set: "
        f"say `get oauth2` or `get azure`, as {name!r} could be either",
        provider_name=name,
    )


def _present(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what is set. A secret that a file holds counts as set, and is empty here."""
    present = {key: value for key, value in environment.items() if value.strip()}
    for _, secret, _ in _FAMILIES.values():
        if f"{secret}_FILE" in present:
            present.setdefault(secret, "")
    return present


def _listed(words: Any) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else str(last)
