"""Clients that the environment describes: ``AZURE_*``, ``OAUTH2_*``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider

__all__ = ["CONFIG_VARIABLE", "provider_from_environment", "providers_from_environment"]

CONFIG_VARIABLE = "TOKENKEEPER_CONFIG"
"""Names a file, which then counts alone."""

OAUTH2 = ("OAUTH2_CLIENT_ID", "OAUTH2_CLIENT_SECRET", "OAUTH2_TOKEN_URL")
AZURE = ("AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_TENANT_ID")
_FAMILY_OF_NAME = {"azure": AZURE, "oauth2": OAUTH2, "generic": OAUTH2}


def providers_from_environment(environment: Mapping[str, str]) -> list[BaseOAuth2Provider]:
    """Return the providers ``azure`` and ``oauth2``, as far as *environment* describes them.

    One that is described in part counts for nothing beside one that is whole: platforms set some
    of Azure's variables by themselves.

    :raises InvalidConfigurationError: if it describes none as a whole.
    """
    present = _present(environment)
    families = {"azure": AZURE, "oauth2": OAUTH2}
    whole = [n for n, family in families.items() if all(each in present for each in family)]
    begun = [n for n, family in families.items() if any(each in present for each in family)]
    return [provider_from_environment(name, environment) for name in whole or begun or ["oauth2"]]


def provider_from_environment(name: str, environment: Mapping[str, str]) -> BaseOAuth2Provider:
    """Return a provider called *name* of the client that *environment* describes.

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
    client_id, secret, third = (present[variable] for variable in family)
    try:
        if family is AZURE:
            return AzureADProvider(name, client_id, secret, third)
        scope = present.get("OAUTH2_SCOPE")
        return GenericOAuth2Provider(OAuth2Config(name, client_id, secret, third, scope))
    except InvalidConfigurationError as problem:
        prefix = "AZURE" if family is AZURE else "OAUTH2"
        variable = f"{prefix}_{problem.field}".upper()
        if variable in present:
            problem.args = (f"{problem}; it was read from {variable}",)
        raise


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
    return {key: value for key, value in environment.items() if value.strip()}


def _listed(words: Any) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else str(last)
