"""The variables that describe a client: ``AZURE_*``, ``OAUTH2_*``, and which of them is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["FAMILIES", "Family", "family_of", "listed", "names_in", "set_variables"]


@dataclass(frozen=True)
class Family:
    """The variables that describe one client. An empty variable counts as not set.

    :ivar prefix: how all of them begin.
    :ivar where: the end of the variable with the tenant, or with the token endpoint.
    :ivar ends: the ends of all of them, by the key of a configuration file.
    :ivar instead: the ends of those that may replace a required one.
    :ivar lent: the ends of those that platforms set on their own for every program.
    """

    provider_type: str
    prefix: str
    where: str
    ends: Mapping[str, str]
    instead: Mapping[str, tuple[str, ...]]
    lent: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The usual variables, all of which describe a client."""
        return tuple(f"{self.prefix}_{end}" for end in ("CLIENT_ID", "CLIENT_SECRET", self.where))

    @property
    def variables(self) -> tuple[str, ...]:
        """All variables, the required ones first."""
        names = [f"{self.prefix}_{end}" for end in (*self.ends.values(), "SCOPES")]
        return tuple(dict.fromkeys([*self.required, *names]))

    def variable(self, key: str) -> str:
        """Return the variable for the *key* of a configuration file."""
        return f"{self.prefix}_{self.ends.get(key, key.upper())}"

    def choices(self, required: str, *, lent: bool = True) -> list[str]:
        """Return the variables of which one must be set: a required one, and its replacements.

        :param lent: whether those that platforms set on their own count.
        """
        ends = self.instead.get(required.removeprefix(f"{self.prefix}_"), ())
        others = [f"{self.prefix}_{end}" for end in ends if lent or end not in self.lent]
        return [required, *others]

    def missing(self, present: Mapping[str, str], *, lent: bool = True) -> list[str]:
        """Return the required variables that are neither set nor replaced."""
        return [
            name
            for name in self.required
            if not any(each in present for each in self.choices(name, lent=lent))
        ]

    def is_begun(self, present: Mapping[str, str]) -> bool:
        """Return whether any variable is set that is required, or replaces one."""
        return any(each in present for name in self.required for each in self.choices(name))


_OAUTH2 = Family(
    "generic",
    "OAUTH2",
    "TOKEN_URL",
    {
        key: key.upper()
        for key in (
            *("client_id", "client_secret", "client_secret_file", "token_url", "issuer", "scope"),
            *("token_endpoint_auth_method", "private_key_file", "private_key_password"),
            *("private_key_password_file", "key_id", "signing_alg", "client_assertion_file"),
            *("client_assertion_audience", "certificate_file", "certificate_key_file"),
            *("resource", "audience", "grant", "redirect_uri", "redirect_port", "custody"),
            *("login_hint", "binding_message"),
        )
    },
    {
        "CLIENT_SECRET": (
            "CLIENT_SECRET_FILE",
            "TOKEN_ENDPOINT_AUTH_METHOD",
            "PRIVATE_KEY_FILE",
            "CLIENT_ASSERTION_FILE",
            "CERTIFICATE_FILE",
        ),
        "TOKEN_URL": ("ISSUER",),
    },
)

# The names are those of azure-identity, so that one environment serves both.
_AZURE = Family(
    "azure",
    "AZURE",
    "TENANT_ID",
    {
        "client_id": "CLIENT_ID",
        "client_secret": "CLIENT_SECRET",
        "client_secret_file": "CLIENT_SECRET_FILE",
        "tenant_id": "TENANT_ID",
        "scope": "SCOPE",
        "authority": "AUTHORITY_HOST",
        "allowed_tenants": "ALLOWED_TENANTS",
        "certificate_file": "CLIENT_CERTIFICATE_PATH",
        "certificate_password": "CLIENT_CERTIFICATE_PASSWORD",
        "send_x5c": "CLIENT_SEND_CERTIFICATE_CHAIN",
        "federated_token_file": "FEDERATED_TOKEN_FILE",
        "region": "REGIONAL_AUTHORITY_NAME",
    },
    {
        "CLIENT_SECRET": (
            "CLIENT_SECRET_FILE",
            "CLIENT_CERTIFICATE_PATH",
            "FEDERATED_TOKEN_FILE",
        )
    },
    ("FEDERATED_TOKEN_FILE",),
)

FAMILIES = {"azure": _AZURE, "oauth2": _OAUTH2}
"""The families, by the name of the provider that each describes."""

_FAMILY_OF_NAME = {**FAMILIES, "generic": _OAUTH2}


def set_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are set."""
    return {key: value for key, value in environment.items() if value.strip()}


def names_in(environment: Mapping[str, str]) -> list[str]:
    """Return the names of the clients that *environment* describes, at least one."""
    present = set_variables(environment)
    complete = [name for name, each in FAMILIES.items() if each in _complete(present)]
    begun = [name for name, each in FAMILIES.items() if each.is_begun(present)]
    return complete or begun or ["oauth2"]


def family_of(name: str, present: Mapping[str, str]) -> Family:
    """Return the variables that describe the client *name*.

    :raises InvalidConfigurationError: if no client is described, or it is unclear which.
    """
    begun = [family for family in (_OAUTH2, _AZURE) if family.is_begun(present)]
    if not begun:
        raise InvalidConfigurationError(
            "the environment does not describe a client. Set "
            f"{listed(_OAUTH2.required)} (and OAUTH2_SCOPE if needed), or "
            f"{listed(_AZURE.required)}",
            provider_name=name,
        )
    if len(begun) == 1:
        return begun[0]
    if name in _FAMILY_OF_NAME:
        return _FAMILY_OF_NAME[name]
    complete = _complete(present)
    if len(complete) == 1:
        return complete[0]
    raise InvalidConfigurationError(
        f"OAUTH2_* and AZURE_* variables are both set, and {name!r} could be either. "
        "Use the name oauth2 or azure",
        provider_name=name,
    )


def _complete(present: Mapping[str, str]) -> list[Family]:
    """Return the families that describe a client.

    One that is complete only by what a platform sets counts if no other one is.
    """
    families = FAMILIES.values()
    chosen = [each for each in families if not each.missing(present, lent=False)]
    return chosen or [each for each in families if not each.missing(present)]


def listed(words: Iterable[str]) -> str:
    """Return *words* as a list in a sentence."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
