"""``tokenkeeper logout``: revoke a sign-in, and forget it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.asking import brief_keeper
from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    report_problems,
    source_options,
)
from tokenkeeper.cli.records import key_of, records, records_of
from tokenkeeper.cli.sign_ins import account_option, required_place, with_sign_in
from tokenkeeper.cli.source import Source
from tokenkeeper.exceptions import OAuth2Error
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
    with report_problems():
        selection = with_sign_in(source, name)
        (provider,) = selection.providers
        place = required_place(source, provider)
        keeper = selection.add_to(brief_keeper(source.store()))
        problem, revoked = None, False
        try:
            revoked = keeper.revoke(name, account=account).server_was_asked
        except OAuth2Error as error:
            problem = str(error)
        count = sum(place.store.forget(key) for key in list(_keys(place, provider, account)))
    if as_json:
        click.echo(json.dumps({"revoked": revoked, "error": problem}))
    if problem is not None:
        click.echo(f"Warning: the refresh token was not revoked: {escaped(problem)}", err=True)
        text = "was forgotten. Revoke it at the server"
    elif revoked:
        text = "was revoked at the server, and forgotten"
    elif count:
        text = (
            "was forgotten. The server has no revocation endpoint: revoke it in your account there"
        )
    else:
        text = "was not there"
    click.echo(f"{escaped(name)}: the sign-in {text}.", err=True)
    if problem is not None:
        ctx.exit(ExitCode.NO_TOKEN)


def _keys(place: StoreSettings, provider: BaseOAuth2Provider, account: str | None) -> Iterator[str]:
    """Yield the keys of the records to forget: those of the grant, and of tokens by it."""
    yield key_of(place, provider, TokenParameters.of(account=account))
    for each in records_of(provider, records(place)):
        parameters = parameters_in(each.token_name or "")
        if parameters is not None and parameters.account == account:
            yield each.key
