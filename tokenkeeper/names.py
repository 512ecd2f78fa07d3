"""What a token is called: the provider's name, and what was asked for beyond its registration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any, Self

from tokenkeeper._support.checks import (
    checked_scope,
    checked_tenant,
    checked_text,
    checked_words,
)
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = [
    "NO_PARAMETERS",
    "SEPARATOR",
    "TokenName",
    "TokenParameters",
    "is_chosen",
    "is_for_customer",
    "is_on_behalf",
    "parameters_in",
    "provider_of",
    "stated_in",
]

SEPARATOR = "\n"
"""Ends the provider's name, in which :func:`checked_text` allows no control character."""


@dataclass(frozen=True, slots=True)
class TokenParameters:
    """What a token is requested for, in place of what the provider's registration says. Immutable.

    Equal requests have equal parameters: create them with :meth:`of`, which puts each into one
    form.

    :ivar scope: the scope, sorted and separated by spaces (RFC 6749 §3.3).
    :ivar resource: the resource servers, as sorted absolute URIs (RFC 8707 §2).
    :ivar audience: the audiences, sorted (RFC 8693 §2.1, and vendors' own).
    :ivar tenant: the tenant, in lower case.
    :ivar account: whose consent the token is based on. Personal data: ``repr`` does not show it.
    :ivar subject: the token of the party to act for (RFC 8693 §2.1). ``repr`` does not show it.
    :ivar actor: the token of the acting party (RFC 8693 §2.1). ``repr`` does not show it.
    """

    scope: str | None = None
    resource: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    tenant: str | None = None
    account: str | None = field(default=None, repr=False)
    subject: str | None = field(default=None, repr=False)
    actor: str | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        *,
        scope: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        audience: str | Iterable[str] | None = None,
        tenant: str | None = None,
        account: str | None = None,
        subject: str | None = None,
        actor: str | None = None,
    ) -> Self:
        """Return checked parameters in their one form. ``None`` leaves it to the registration.

        :raises InvalidConfigurationError: for a value of the wrong type, or an empty one.
        """
        return cls(
            scope=None if scope is None else _sorted_scope(scope),
            resource=_sorted_words(resource, "resource"),
            audience=_sorted_words(audience, "audience"),
            tenant=None if tenant is None else checked_tenant(tenant, "tenant").lower(),
            account=None if account is None else checked_text(account, "account"),
            subject=None if subject is None else checked_text(subject, "subject"),
            actor=None if actor is None else checked_text(actor, "actor"),
        )

    def given(self) -> list[str]:
        """Return the names of the parameters that are set."""
        return [each.name for each in fields(self) if getattr(self, each.name)]


NO_PARAMETERS = TokenParameters()
"""A token as its provider is registered."""

_SECRETS = ("subject", "actor")
"""Parameters of which a name has only a digest."""


class TokenName(str):
    """The name of a token, which works wherever a provider's name does.

    It is the provider's name alone if nothing else was asked for. Otherwise a line end and the
    parameters follow, as canonical JSON: two names are equal if, and only if, the same was asked
    for. Tokens among the parameters appear as SHA-256 digests. An ``account`` appears as it is, so
    a name may contain personal data; ``provider_name`` does not.
    """

    __slots__ = ()

    @classmethod
    def of(cls, provider_name: str, parameters: TokenParameters = NO_PARAMETERS) -> Self:
        """Return the name of the token of *provider_name* with *parameters*.

        The name of one token is returned unchanged.

        :raises InvalidConfigurationError: for the name of one token and *parameters*.
        """
        members = {name: _in_name(name, getattr(parameters, name)) for name in parameters.given()}
        if not members:
            return cls(provider_name)
        if is_chosen(provider_name):
            given = next(iter(members))
            raise InvalidConfigurationError(
                f"this is the name of one token, which can't be combined with {given}. Pass the "
                "provider's name.",
                field=given,
            )
        canonical = json.dumps(members, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return cls(provider_name + SEPARATOR + canonical)

    @property
    def provider_name(self) -> str:
        """The name of the provider."""
        return provider_of(self)

    def __repr__(self) -> str:
        shown = str(self).replace(SEPARATOR, " ")
        return f"<{type(self).__name__} {shown}>"


def is_chosen(name: str) -> bool:
    """Return whether *name* has parameters, which a caller chose."""
    return SEPARATOR in name


def is_for_customer(name: str) -> bool:
    """Return whether the token *name* is for one of many: an account, a subject or a tenant."""
    # Exact: JSON escapes quotation marks within values.
    return any(f'"{each}":' in name for each in ("account", "actor", "subject", "tenant"))


def is_on_behalf(name: str) -> bool:
    """Return whether the token *name* is granted for the token of a subject or an actor."""
    return any(f'"{each}":' in name for each in _SECRETS)


def stated_in(name: str) -> str:
    """Return what *name* states beside the provider's name: canonical JSON, or nothing."""
    return name.partition(SEPARATOR)[2]


def provider_of(name: str) -> str:
    """Return the provider's name in *name*, a token's or the provider's own."""
    return str(name).partition(SEPARATOR)[0]  # a TokenName would return itself without a separator


def parameters_in(name: str) -> TokenParameters | None:
    """Return the parameters that the token's *name* states.

    :returns: ``None`` if *name* is not a token's name, or has only a digest of a parameter.
    """
    provider_name, separator, canonical = name.partition(SEPARATOR)
    if not separator:
        return NO_PARAMETERS
    try:
        members = json.loads(canonical)
        parameters = TokenParameters.of(**members)
    except (ValueError, TypeError, RecursionError, InvalidConfigurationError):
        return None
    return parameters if TokenName.of(provider_name, parameters) == name else None


def _in_name(name: str, value: Any) -> object:
    if name in _SECRETS:
        return "sha256:" + hashlib.sha256(value.encode()).hexdigest()
    return value.split(" ") if name == "scope" else value


def _sorted_scope(scope: object) -> str:
    words = checked_scope(scope, "scope")
    if words is None:
        raise InvalidConfigurationError(
            "scope is empty. Leave it out to use the registration's.", field="scope"
        )
    return " ".join(sorted(set(words.split(" "))))


def _sorted_words(value: object, field_name: str) -> tuple[str, ...]:
    words = checked_words(value, field_name)
    if value is not None and not words:
        raise InvalidConfigurationError(
            f"{field_name} is empty. Leave it out to use the registration's.", field=field_name
        )
    return tuple(sorted(set(words)))
