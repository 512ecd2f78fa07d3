"""One token, as the commands that need a single one request it."""

from __future__ import annotations

from dataclasses import dataclass

import click

from tokenkeeper._renewal.registry import check_taken
from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import (
    ask,
    brief_keeper,
    release_claim,
    timeout_message,
    variant_of,
    warn_about_store,
)
from tokenkeeper.cli.sign_ins import with_advice
from tokenkeeper.cli.source import Source
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters

__all__ = ["OneToken", "one_token"]


@dataclass(frozen=True)
class OneToken:
    """A token, and what it was requested with.

    :ivar keeper: has the token. It is not closed, as a renewal may hang.
    :ivar name: the token's name.
    :ivar token: is valid, and perhaps due, if its renewal took too long.
    """

    keeper: TokenKeeper
    name: TokenName
    token: OAuth2Token


def one_token(
    source: Source,
    name: str,
    parameters: TokenParameters,
    *,
    timeout: float,
    force: bool = False,
) -> OneToken:
    """Return a token of the provider *name*, from the store or the server.

    :param timeout: how many seconds it may take.
    :param force: whether to ask the server even if a fresh token is stored; ``False`` by default.
    :raises OAuth2Error: if there is none. If a person has to sign in, it says what to run.
    :raises click.ClickException: if it did not arrive in time.
    """
    selection = source.select_valid([name])
    (provider,) = selection.providers
    settings = source.store()
    keeper = selection.add_to(brief_keeper(settings))
    if parameters != NO_PARAMETERS:
        check_taken(provider, parameters)
    token_name = TokenName.of(name, parameters)
    answer = ask(keeper, [token_name], timeout=timeout, force=force)[token_name]
    if answer.timed_out:
        message = timeout_message(provider, timeout)
        if settings is not None:
            release_claim(settings, variant_of(provider, parameters), token_name, message)
        if answer.token is None:
            raise click.ClickException(escaped(message))
    warn_about_store(keeper)
    if answer.error is not None:
        raise with_advice(answer.error, provider, parameters.account)
    assert answer.token is not None  # noqa: S101 - for the type checker
    return OneToken(keeper, token_name, answer.token)
