"""``tokenkeeper logout``: revoke a sign-in, and forget it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    report_problems,
    source_options,
)
from tokenkeeper.cli.records import key_of, records, records_of
from tokenkeeper.cli.revoke import as_json_object, in_words, revoked
from tokenkeeper.cli.sign_ins import account_option, required_place, with_sign_in
from tokenkeeper.cli.source import Source
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.names import TokenParameters, parameters_in
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["logout"]


@click.command()
@click.argument("name", shell_complete=complete_names)
@account_option
@json_option
@source_options
@click.pass_context
def logout(ctx: click.Context, name: str, *, account: str | None, as_json: bool) -> None:
    """Revoke the sign-in for the provider NAME.

    The server revokes the refresh token, and all tokens of the sign-in are forgotten. If the server
    has no revocation endpoint, or does not answer, they are forgotten anyway, and that is reported.
    A running service uses the access token that it has until it expires.
    """
    source: Source = ctx.obj
    found, problem = None, None
    with report_problems():
        (provider,) = with_sign_in(source, name).providers
        place = required_place(source, provider)
        try:
            found = revoked(source, name, account, forgets_anyway=True)
        except TokenAcquisitionError as error:
            problem = str(error)
            for key in list(_keys(place, provider, account)):
                place.store.forget(key)
    if as_json:
        content = {"error": problem} if found is None else as_json_object(found)
        click.echo(json.dumps(content))
    elif found is not None:
        click.echo(in_words(found), err=True)
    if problem is not None:
        click.echo(
            f"Warning: {escaped(problem)}\n"
            "The sign-in was forgotten, and not revoked. Revoke it in the account at the server.",
            err=True,
        )
        ctx.exit(ExitCode.NO_TOKEN)


def _keys(place: StoreSettings, provider: BaseOAuth2Provider, account: str | None) -> Iterator[str]:
    """Yield the keys of the records to forget: those of the grant, and of tokens by it."""
    yield key_of(place, provider, TokenParameters.of(account=account))
    for each in records_of(provider, records(place)):
        parameters = parameters_in(each.token_name or "")
        if parameters is not None and parameters.account == account:
            yield each.key
