"""Makes a provider of any class from the arguments that a block holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenkeeper.config.keys import unknown_key
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.providers.kinds import parameters_of, place_of, provider_class

__all__ = ["UnknownArgumentError", "construct"]

_ATTRIBUTES = ("buffer_seconds", "retry")
"""Each provider has these as attributes, whether or not its class takes them as arguments."""


class UnknownArgumentError(InvalidConfigurationError):
    """A key of a block is not an argument of its class. The message does not repeat its place."""


def construct(
    provider_type: str, provider_name: str, arguments: Mapping[str, Any]
) -> BaseOAuth2Provider:
    """Return a provider of the class that *provider_type* names.

    :raises UnknownArgumentError: if the class does not take one of *arguments*.
    :raises InvalidConfigurationError: if its constructor fails. Messages of other exceptions are
        not repeated, because they may contain a secret.
    """
    kind = provider_class(provider_type)
    takes = parameters_of(kind)
    attributes = {name: arguments[name] for name in _ATTRIBUTES if name in arguments}
    unwanted = attributes.keys() - {*takes.own}
    passed = {name: value for name, value in arguments.items() if name not in unwanted}
    try:
        provider = kind(**passed)
    except InvalidConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - its text may hold a secret
        failure = _failure(error, kind, provider_type, [n for n in passed if n not in takes.names])
    else:
        for name, value in attributes.items():
            setattr(provider, name, value)
        if getattr(provider, "provider_name", None) == provider_name:
            return provider
        problem = f"{kind.__name__} must pass provider_name on to super().__init__()"
        failure = InvalidConfigurationError(problem, field="provider_type")
    raise failure  # out here, so that it has no context


def _failure(
    error: Exception, kind: type[BaseOAuth2Provider], provider_type: str, unknown: list[str]
) -> InvalidConfigurationError:
    """Return what the constructor's *error* means; *unknown* are arguments it does not name."""
    if isinstance(error, TypeError) and unknown:
        owner = f"provider_type {provider_type!r}"
        problem = unknown_key(unknown[0], owner, parameters_of(kind).names)
        return UnknownArgumentError(problem, field=unknown[0])
    problem = f"{kind.__name__} raised {type(error).__name__}{place_of(error)}"
    return InvalidConfigurationError(problem, field="provider_type")
