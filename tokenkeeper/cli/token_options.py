"""The options that ask for a token with other parameters than its provider's registration has."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

import click

from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.names import TokenParameters

__all__ = ["token_options"]

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = {
    "scope": "The scope, instead of the registration's; separated by spaces or repeated.",
    "resource": "The URI of a resource server (RFC 8707); may be repeated.",
    "audience": "An audience, for servers that take one; may be repeated.",
    "tenant": "The tenant to request the token in.",
    "account": "Whose sign-in to use.",
}
_SINGLE = ("tenant", "account")
# A subject and an actor are tokens, which any user could see in the list of processes.


def token_options(command: F) -> F:
    """Add --scope, --resource, --audience, --tenant and --account, passed on as ``parameters``."""

    @functools.wraps(command)
    def with_parameters(*arguments: Any, **options: Any) -> Any:
        given = {name: value for name in _OPTIONS if (value := options.pop(name))}
        if "scope" in given:
            given["scope"] = " ".join(given["scope"])
        try:
            parameters = TokenParameters.of(**given)
        except InvalidConfigurationError as problem:
            raise click.BadParameter(str(problem), param_hint=f"--{problem.field}") from None
        return command(*arguments, parameters=parameters, **options)

    wrapped: Callable[..., Any] = with_parameters
    for name, text in reversed(_OPTIONS.items()):
        wrapped = click.option(f"--{name}", multiple=name not in _SINGLE, help=text)(wrapped)
    return cast(F, wrapped)
