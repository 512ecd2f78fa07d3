"""``tokenkeeper clear``: delete stored tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from tokenkeeper.cli.common import complete_names, json_option, report_problems, source_options
from tokenkeeper.cli.records import key_of, records, records_of
from tokenkeeper.cli.source import NOT_STORED, Source
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.names import NO_PARAMETERS, TokenParameters
from tokenkeeper.stores.sign_ins import kept_in

if TYPE_CHECKING:
    from tokenkeeper.providers.base import BaseOAuth2Provider
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["clear"]


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@json_option
@token_options
@source_options
@click.pass_obj
def clear(source: Source, name: str | None, *, as_json: bool, parameters: TokenParameters) -> None:
    """Delete the stored tokens of NAME, or all of them.

    With --scope, --resource, --audience, --tenant or --account, deletes the token alone that get
    stores with the same options. Without NAME, a record with a refresh token, or that can't be
    read, is kept; `tokenkeeper store purge` deletes it.

    This does not revoke tokens: a copy elsewhere stays valid until it expires. Services that share
    the store keep what they have in memory, and request their next token when it is due.
    """
    if parameters != NO_PARAMETERS and name is None:
        raise click.UsageError("name the provider whose token to delete")
    kept = 0
    with report_problems():
        provider = None if name is None else source.select_valid([name]).providers[0]
        settings = source.store()
        if provider is not None:
            settings = kept_in(provider, settings)
        chosen: Iterable[str] = ()
        if settings is not None and provider is not None:
            chosen = _keys(settings, provider, parameters)
        elif settings is not None:
            found = list(records(settings))
            chosen = [each.key for each in found if not each.is_irreplaceable]
            kept = len(found) - len(chosen)
        count = sum(settings.store.forget(key) for key in chosen) if settings else 0
    if settings is None:
        click.echo(NOT_STORED, err=True)
    if as_json:
        click.echo(json.dumps({"cleared": count}))
    elif settings is not None:
        click.echo(f"{count} token{'' if count == 1 else 's'} deleted.", err=True)
    if kept:
        click.echo(
            f"{kept} record{' was' if kept == 1 else 's were'} kept: with a refresh token, or not "
            "readable. See: tokenkeeper store purge",
            err=True,
        )


def _keys(
    settings: StoreSettings, provider: BaseOAuth2Provider, parameters: TokenParameters
) -> list[str]:
    """Return the keys of the records to clear: of one token, or of all of *provider*."""
    own = key_of(settings, provider, parameters)
    if parameters != NO_PARAMETERS:
        return [own]
    chosen = (each.key for each in records_of(provider, records(settings)))
    return list(dict.fromkeys([own, *chosen]))
