"""Clients that the environment describes: ``AZURE_*``, ``OAUTH2_*``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tokenkeeper.config.files import located, read_secret, readable_by_all
from tokenkeeper.config.problems import Problem
from tokenkeeper.config.spec import Discovered
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider

__all__ = ["EnvironmentSpec", "discover_in_environment", "spec_from_environment"]


@dataclass(frozen=True)
class _Family:
    """The variables that describe one client. An empty variable counts as not set.

    :ivar prefix: how all of them begin.
    :ivar where: the end of the variable with the tenant, or with the token endpoint.
    :ivar more: the ends of further ones that only this family has.
    """

    provider_type: str
    prefix: str
    where: str
    more: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        ends = ("CLIENT_ID", "CLIENT_SECRET", self.where)
        return tuple(f"{self.prefix}_{end}" for end in ends)

    @property
    def optional(self) -> tuple[str, ...]:
        ends = ("CLIENT_SECRET_FILE", "SCOPE", "SCOPES", *self.more)
        return tuple(f"{self.prefix}_{end}" for end in ends)

    def is_begun(self, present: Mapping[str, str]) -> bool:
        """Return whether any of the required variables is set."""
        return any(name in present for name in self.required)

    def is_complete(self, present: Mapping[str, str]) -> bool:
        """Return whether all required variables are set."""
        return all(name in present for name in self.required)


_OAUTH2 = _Family("generic", "OAUTH2", "TOKEN_URL")
_AZURE = _Family("azure", "AZURE", "TENANT_ID", ("AUTHORITY_HOST", "ALLOWED_TENANTS"))
_FAMILIES = {"azure": _AZURE, "oauth2": _OAUTH2}
_FAMILY_OF_NAME = {**_FAMILIES, "generic": _OAUTH2}


@dataclass(frozen=True)
class EnvironmentSpec:
    """A client from variables. Implements :class:`~tokenkeeper.config.spec.ProviderSpec`.

    :ivar provider_type: "azure" or "generic".
    :ivar where: the tenant, or the token endpoint.
    :ivar authority: the login host of Entra ID.
    :ivar allowed_tenants: the tenants that a source may name.
    """

    provider_name: str
    provider_type: str
    client_id: str
    secret: str = field(repr=False)
    where: str
    scope: str | None = None
    authority: str | None = None
    allowed_tenants: tuple[str, ...] = ()

    @property
    def identity(self) -> str:
        """A text that is equal for equal requests of one client to one server, without a secret.

        It does not contain the name, which the user of a command chooses freely.
        """
        return json.dumps(
            ["", self.provider_type, self.client_id, "", self.where, self.scope, self.authority]
        )

    @property
    def secrets(self) -> Sequence[str]:
        """The client secret."""
        return [self.secret]

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        name, client_id, secret = self.provider_name, self.client_id, self.secret
        if self.provider_type == "azure":
            return AzureADProvider(
                name,
                client_id,
                secret,
                self.where,
                self.scope,
                authority=self.authority,
                allowed_tenants=self.allowed_tenants,
            )
        return GenericOAuth2Provider(OAuth2Config(name, client_id, secret, self.where, self.scope))


def discover_in_environment(
    environment: Mapping[str, str], directory: Path, names: Iterable[str] = ()
) -> list[Discovered]:
    """Return the clients that *environment* describes, valid or not.

    :param names: what they are to be called; by default ``azure`` and ``oauth2``, as far as they
        are described. One that is incomplete is ignored if the other is complete, because platforms
        set some of Azure's variables on their own.
    """
    return [
        _discovered(name, environment, directory) for name in list(names) or _names_in(environment)
    ]


def _discovered(name: str, environment: Mapping[str, str], directory: Path) -> Discovered:
    present = _present(environment)
    try:
        family = _family(name, present)
        spec = spec_from_environment(name, environment, directory)
    except InvalidConfigurationError as error:
        problem = Problem(str(error), error.field)
        families = _FAMILIES.values()
        variables = [each for family in families for each in (*family.required, *family.optional)]
        return Discovered(name, None, (problem,), variables=tuple(variables))
    file = present.get(f"{family.prefix}_CLIENT_SECRET_FILE")
    return Discovered(
        name,
        spec,
        warnings=tuple(readable_by_all(located(directory, file))) if file else (),
        variables=(*family.required, *family.optional),
        secret_file=file,
    )


def spec_from_environment(
    name: str, environment: Mapping[str, str], directory: Path = Path()
) -> EnvironmentSpec:
    """Return the client that *environment* describes, for a provider called *name*.

    :param directory: where the relative path of a secret's file begins.
    :raises InvalidConfigurationError: naming the variables that are missing, or the invalid one.
    """
    present = _present(environment)
    family = _family(name, present)
    missing = [variable for variable in family.required if variable not in present]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InvalidConfigurationError(
            f"{_listed(missing)} {verb} not set (an empty variable counts as not set)",
            provider_name=name,
            field=missing[0],
        )
    client_id, client_secret, where = family.required
    secret_from = _one_of(present, client_secret, f"{client_secret}_FILE")
    scope_from = _one_of(present, f"{family.prefix}_SCOPE", f"{family.prefix}_SCOPES")
    spec = EnvironmentSpec(
        name,
        family.provider_type,
        present[client_id],
        _secret(secret_from, present, directory),
        present[where],
        present.get(scope_from),
        present.get("AZURE_AUTHORITY_HOST") if family is _AZURE else None,
        _words(present.get("AZURE_ALLOWED_TENANTS", "")) if family is _AZURE else (),
    )
    try:
        spec.make_provider()
    except InvalidConfigurationError as problem:
        variable = {
            "client_secret": secret_from,
            "scope": scope_from,
            "authority": "AZURE_AUTHORITY_HOST",
        }.get(problem.field or "", f"{family.prefix}_{problem.field}".upper())
        if variable in present:
            problem.args = (f"{problem} (read from {variable})",)
        raise
    return spec


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.replace(",", " ").split())


def _secret(variable: str, present: Mapping[str, str], directory: Path) -> str:
    """Return the secret that *variable* holds, or the content of the file that it names."""
    if not variable.endswith("_FILE"):
        return present[variable]
    try:
        return read_secret(located(directory, present[variable]))
    except InvalidConfigurationError as problem:
        raise InvalidConfigurationError(f"{variable} {problem}", field=variable) from None


def _one_of(present: Mapping[str, str], one: str, other: str) -> str:
    """Return the variable of the two that is set, or the first.

    :raises InvalidConfigurationError: if both are.
    """
    given = [name for name in (one, other) if present.get(name)]
    if len(given) == 2:
        raise InvalidConfigurationError(
            f"{one} and {other} are both set. Unset one of them", field=other
        )
    return given[0] if given else one


def _names_in(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the clients that *environment* describes, at least one."""
    present = _present(environment)
    complete = [name for name, family in _FAMILIES.items() if family.is_complete(present)]
    begun = [name for name, family in _FAMILIES.items() if family.is_begun(present)]
    return complete or begun or ["oauth2"]


def _family(name: str, present: Mapping[str, str]) -> _Family:
    """Return the variables that describe the client *name*."""
    begun = [family for family in (_OAUTH2, _AZURE) if family.is_begun(present)]
    if not begun:
        raise InvalidConfigurationError(
            "the environment does not describe a client. Set "
            f"{_listed(_OAUTH2.required)} (and OAUTH2_SCOPE if needed), or "
            f"{_listed(_AZURE.required)}",
            provider_name=name,
        )
    if len(begun) == 1:
        return begun[0]
    if name in _FAMILY_OF_NAME:
        return _FAMILY_OF_NAME[name]
    complete = [family for family in begun if family.is_complete(present)]
    if len(complete) == 1:
        return complete[0]
    raise InvalidConfigurationError(
        f"OAUTH2_* and AZURE_* variables are both set, and {name!r} could be either. "
        "Use the name oauth2 or azure",
        provider_name=name,
    )


def _present(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set. A secret in a file counts as set, with an empty value."""
    present = {key: value for key, value in environment.items() if value.strip()}
    for family in _FAMILIES.values():
        secret = f"{family.prefix}_CLIENT_SECRET"
        if f"{secret}_FILE" in present:
            present.setdefault(secret, "")
    return present


def _listed(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
