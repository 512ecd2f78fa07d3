"""Clients that the environment describes: ``AZURE_*``, ``OAUTH2_*``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenkeeper.config.combinations import (
    AUTH_METHODS,
    AZURE_CREDENTIALS,
    check_azure,
    check_generic,
    check_pairs,
)
from tokenkeeper.config.credentials import (
    PASSWORDS,
    check_credential_files,
    credential_files,
    readable_credentials,
)
from tokenkeeper.config.custody import check_custody, custody_of
from tokenkeeper.config.families import (
    FAMILIES,
    Family,
    family_of,
    listed,
    names_in,
    set_variables,
)
from tokenkeeper.config.files import located, read_secret, readable_by_all
from tokenkeeper.config.problems import KeyPath, Problem
from tokenkeeper.config.proof import Given, azure_credentials, generic_options, needs_secret
from tokenkeeper.config.sign_in import SIGN_IN_GRANTS, with_sign_in
from tokenkeeper.config.spec import Discovered
from tokenkeeper.config.store import KEY_FILE_VARIABLE, OTHERS_READ_IT, STORE_VARIABLE
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.azure import AzureADProvider
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.stores.options import NO_KEY

__all__ = ["EnvironmentSpec", "discover_in_environment", "spec_from_environment"]

_WORDS = frozenset({"allowed_tenants", "audience", "client_assertion_audience", "resource"})
_OFF = frozenset({"0", "false", "no"})
_GRANTS = ("client_credentials", *SIGN_IN_GRANTS)
"""The grants that variables can describe. Others need a file."""


@dataclass(frozen=True)
class EnvironmentSpec:
    """A client from variables. Implements :class:`~tokenkeeper.config.spec.ProviderSpec`.

    :ivar provider_type: "azure" or "generic".
    :ivar content: its settings without passwords, by the key of a configuration file.
    :ivar passwords: its secrets, by the key of a configuration file.
    :ivar directory: where relative paths begin.
    """

    provider_name: str
    provider_type: str
    content: Mapping[str, Any]
    passwords: Mapping[str, str] = field(repr=False)
    directory: Path = field(default_factory=Path)

    @property
    def secret(self) -> str | None:
        """The client secret."""
        return self.passwords.get("client_secret")

    @property
    def secrets(self) -> Sequence[str]:
        """The client secret, and passwords of keys."""
        return list(self.passwords.values())

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        content, given = self.content, Given(self.passwords, self.directory)
        name, client_id, scope = self.provider_name, content["client_id"], content.get("scope")
        if self.provider_type == "azure":
            keys = ("authority", "allowed_tenants", "send_x5c", "region")
            return AzureADProvider(
                name,
                client_id,
                self.secret,
                content["tenant_id"],
                scope,
                **{key: content[key] for key in keys if key in content},
                **azure_credentials(content, given),
            )
        more = {"issuer": content["issuer"]} if "issuer" in content else {}
        targets = {key: content[key] for key in ("audience", "resource") if key in content}
        config = OAuth2Config(
            name,
            client_id,
            self.secret if needs_secret(content) else None,
            content.get("token_url", ""),
            scope,
            targets,
            **more,
        )
        kept_in = content.get("custody")
        custody = None if kept_in is None else custody_of(kept_in, self.directory)
        return GenericOAuth2Provider(config, custody=custody, **generic_options(content, given))

    def with_sign_in(self, grant: str) -> EnvironmentSpec:
        """Return the same client with another *grant* that begins with a sign-in.

        :raises InvalidConfigurationError: naming what is missing for it.
        """
        changes = with_sign_in(self.content, grant, self.provider_name)
        changed = {**self.content, **changes}
        kept = {key: each for key, each in changed.items() if each is not None}
        return replace(self, content=kept)


def discover_in_environment(
    environment: Mapping[str, str], directory: Path, names: Iterable[str] = ()
) -> list[Discovered]:
    """Return the clients that *environment* describes, valid or not.

    :param names: what they are to be called; by default ``azure`` and ``oauth2``, as far as they
        are described. One that is incomplete is ignored if the other is complete, because platforms
        set some of Azure's variables on their own.
    """
    return [
        _discovered(name, environment, directory) for name in list(names) or names_in(environment)
    ]


def _discovered(name: str, environment: Mapping[str, str], directory: Path) -> Discovered:
    present = set_variables(environment)
    try:
        family = family_of(name, present)
        spec = spec_from_environment(name, environment, directory)
    except InvalidConfigurationError as error:
        problem = Problem(str(error), error.field)
        variables = [each for family in FAMILIES.values() for each in family.variables]
        return Discovered(name, None, (problem,), variables=tuple(variables))
    files = credential_files(spec.content, directory, spec.passwords)
    secrets = [present.get(f"{family.variable(key)}_FILE") for key in PASSWORDS]
    warnings = [
        *(text for file in secrets if file for text in readable_by_all(located(directory, file))),
        *readable_credentials(files),
    ]
    return Discovered(
        name,
        spec,
        warnings=tuple(warnings),
        variables=family.variables,
        secret_file=secrets[0],
        credential_files=tuple(files),
    )


def spec_from_environment(
    name: str, environment: Mapping[str, str], directory: Path = Path()
) -> EnvironmentSpec:
    """Return the client that *environment* describes, for a provider called *name*.

    :param directory: where the relative path of a secret's file begins.
    :raises InvalidConfigurationError: naming the variables that are missing, or the invalid one.
    """
    present = set_variables(environment)
    family = family_of(name, present)
    missing = family.missing(present)
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise InvalidConfigurationError(
            f"{listed(missing)} {verb} not set (an empty variable counts as not set)",
            provider_name=name,
            field=missing[0],
        )
    content, read_from = _content_of(family, present)
    passwords = dict(_passwords(content, read_from, directory))
    _check(family, content, read_from, directory)
    kept = {key: each for key, each in content.items() if key.removesuffix("_file") not in _HIDDEN}
    spec = EnvironmentSpec(name, family.provider_type, kept, passwords, directory)
    try:
        spec.make_provider()
    except InvalidConfigurationError as problem:
        field = problem.field or ""
        variable = read_from.get(field) or read_from.get(f"{field}_file")
        if variable is not None:
            problem.args = (f"{problem} (read from {variable})",)
        raise
    return spec


_HIDDEN = frozenset(PASSWORDS)


def _content_of(
    family: Family, present: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the settings by the key of a configuration file, and the variables they come from."""
    read_from = {key: name for key in family.ends if (name := family.variable(key)) in present}
    for key in PASSWORDS:
        _one_of(present, family.variable(key), f"{family.variable(key)}_FILE")
    scope = _one_of(present, f"{family.prefix}_SCOPE", f"{family.prefix}_SCOPES")
    if scope in present:
        read_from["scope"] = scope
    if family.provider_type == "azure":
        _keep_first_credential(read_from)
    content: dict[str, Any] = {key: present[name] for key, name in read_from.items()}
    for key in _WORDS & content.keys():
        content[key] = tuple(content[key].replace(",", " ").split())
    if re.fullmatch("[0-9]{1,5}", content.get("redirect_port", "")):
        content["redirect_port"] = int(content["redirect_port"])
    if content.get("region", "").lower() in ("tryautodetect", "true"):  # azure-identity's words
        content["region"] = "auto"
    if "send_x5c" in content:  # azure-identity takes any text for "yes"
        content["send_x5c"] = content["send_x5c"].lower() not in _OFF
    return content, read_from


def _keep_first_credential(read_from: dict[str, str]) -> None:
    """Remove all credentials but the first, in azure-identity's order.

    A platform sets the file of a federated token for every program, also for one with a secret.
    """
    credentials = ("client_secret", "client_secret_file", *AZURE_CREDENTIALS)
    for key in [key for key in credentials if key in read_from][1:]:
        del read_from[key]
    if "certificate_file" not in read_from:
        for key in ("certificate_password", "certificate_password_file", "send_x5c"):
            read_from.pop(key, None)


def _passwords(
    content: Mapping[str, Any], read_from: Mapping[str, str], directory: Path
) -> Iterator[tuple[str, str]]:
    """Yield the secrets by key, those in files included."""
    for key in PASSWORDS:
        if key in content:
            yield key, content[key]
        elif (file := content.get(f"{key}_file")) is not None:
            variable = read_from[f"{key}_file"]
            try:
                yield key, read_secret(located(directory, file))
            except InvalidConfigurationError as problem:
                raise InvalidConfigurationError(f"{variable} {problem}", field=variable) from None


def _check(
    family: Family, content: Mapping[str, Any], read_from: Mapping[str, str], directory: Path
) -> None:
    """Raise for variables that do not fit together, and for files that can't be used."""

    def note(path: KeyPath, what: str) -> None:
        key = str(path[0])
        variable = read_from.get(key) or family.variable(key)
        if what == NO_KEY:  # no variable names a key for this place alone
            what = f"{OTHERS_READ_IT}. Set {STORE_VARIABLE} and {KEY_FILE_VARIABLE} in its place"
        raise InvalidConfigurationError(f"{variable} {_in_variables(what, family)}", field=variable)

    for key, known in (("token_endpoint_auth_method", AUTH_METHODS), ("grant", _GRANTS)):
        if content.get(key, known[0]) not in known:
            *most, last = map(repr, known)
            note((key,), f"must be {', '.join(most)} or {last}")
    check_pairs(content, note)
    check: Any = check_azure if family.provider_type == "azure" else check_generic
    check(content, note)
    check_credential_files(credential_files(content, directory, {}), note)
    check_custody(content, directory, note)


def _in_variables(what: str, family: Family) -> str:
    """Return *what* with the names of variables in place of the keys of a file."""
    keys = "|".join(sorted(family.ends, key=len, reverse=True))
    return re.sub(rf"\b(?:{keys})\b", lambda found: family.variable(found[0]), what)


def _one_of(present: Mapping[str, str], one: str, other: str) -> str:
    """Return the variable of the two that is set, or the first.

    :raises InvalidConfigurationError: if both are.
    """
    given = [name for name in (one, other) if name in present]
    if len(given) == 2:
        raise InvalidConfigurationError(
            f"{one} and {other} are both set. Unset one of them", field=other
        )
    return given[0] if given else one
