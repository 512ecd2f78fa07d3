"""What the commands for sign-ins have in common: whose, by which grant, and where it is kept."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

from tokenkeeper.cli.asking import variant_of
from tokenkeeper.cli.source import Selection, Source
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    InvalidConfigurationError,
    StoreUnavailableError,
    TokenAcquisitionError,
)
from tokenkeeper.names import TokenParameters
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.sign_ins import kept_in, needs_sign_in, sign_in_of

if TYPE_CHECKING:
    from tokenkeeper.stores.settings import StoreSettings

__all__ = [
    "account_option",
    "by_device",
    "check_kept",
    "required_place",
    "sign_in_advice",
    "with_advice",
    "with_sign_in",
]

F = TypeVar("F", bound=Callable[..., Any])


def account_option(command: F) -> F:
    """Add --account to a command, as ``account``: whose sign-in it is about."""

    @functools.wraps(command)
    def with_account(*arguments: Any, **options: Any) -> Any:
        try:
            TokenParameters.of(account=options["account"])
        except InvalidConfigurationError as problem:
            raise click.BadParameter(str(problem), param_hint="--account") from None
        return command(*arguments, **options)

    option = click.option(
        "--account", metavar="NAME", help="Whose sign-in it is, as in source(account=...)."
    )
    return cast(F, option(with_account))


def with_sign_in(source: Source, name: str) -> Selection:
    """Return the provider *name*, which a person signs in for.

    :raises InvalidConfigurationError: if it is not valid, or needs no sign-in.
    """
    selection = source.select_valid([name])
    (provider,) = selection.providers
    if not needs_sign_in(provider):
        grant = provider.describe().get("grant_type") or "of its own"
        raise InvalidConfigurationError(
            f"provider {name!r} needs no sign-in: its grant is {grant}. Set grant: "
            "authorization_code, device_code or ciba",
            provider_name=name,
            field="grant",
        )
    return selection


def by_device(selection: Selection) -> Selection:
    """Return *selection* with its provider made again, to sign in on another device (RFC 8628).

    :raises InvalidConfigurationError: if nothing says where that begins.
    """
    (provider,) = selection.providers
    spec = provider.spec.with_sign_in("device_code")
    again = ReloadableProvider(spec, lambda _: None)
    return replace(selection, providers=[again])


def required_place(source: Source, provider: ReloadableProvider) -> StoreSettings:
    """Return where the refresh token of *provider* is kept after the command.

    :raises InvalidConfigurationError: if that is nowhere.
    """
    settings = kept_in(provider, source.store())
    if settings is None:
        raise InvalidConfigurationError(
            f"provider {provider.provider_name!r}: nothing would keep the refresh token after "
            "this command. Set custody of the provider, such as "
            "sqlite:////var/lib/NAME/tokens.db, or store: in the configuration file",
            provider_name=provider.provider_name,
            field="custody",
        )
    return settings


def check_kept(provider: BaseOAuth2Provider, account: str | None, place: StoreSettings) -> None:
    """Raise if the refresh token of a new sign-in is not where services look for it.

    A keeper stores it later if the store is unavailable. A command has ended by then.

    :raises TokenAcquisitionError: says to sign in again.
    """
    whose = variant_of(provider, TokenParameters.of(account=account))
    problem = "it is not there"
    try:
        if sign_in_of(whose, place, SYSTEM_CLOCK.time()).is_there:
            return
    except StoreUnavailableError as error:
        problem = str(error)
    raise TokenAcquisitionError(
        f"the refresh token could not be stored in {place.label}: {problem}. Sign in again once "
        "that works",
        provider_name=provider.provider_name,
        transient=True,
    )


def sign_in_advice(provider: BaseOAuth2Provider, account: str | None = None) -> str:
    """Return what to run so that a person can sign in for *provider*."""
    whose = "" if account is None else f" --account {shlex.quote(account)}"
    return f"sign-in needed: tokenkeeper login {provider.provider_name}{whose}"


def with_advice(
    error: BaseException, provider: BaseOAuth2Provider, account: str | None = None
) -> BaseException:
    """Return *error*, with what to run if a person has to sign in for *provider*."""
    if not isinstance(error, AuthorizationRequiredError) or not needs_sign_in(provider):
        return error
    name, advice = provider.provider_name, sign_in_advice(provider, account)
    # Without an answer of the server, all there is to say is what to do.
    text = f"provider {name!r}: {advice}" if error.error is None else f"{error} {advice}"
    return AuthorizationRequiredError(text, provider_name=name, error=error.error, transient=False)
