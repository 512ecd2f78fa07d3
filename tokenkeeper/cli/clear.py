"""``tokenkeeper clear``: delete stored tokens."""

from __future__ import annotations

import json

import click

from tokenkeeper.cli.common import complete_names, json_option, report_problems, source_options
from tokenkeeper.cli.source import NOT_STORED, Source
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.names import TokenName, TokenParameters, stated_in

__all__ = ["clear"]


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@json_option
@token_options
@source_options
@click.pass_obj
def clear(source: Source, name: str | None, *, as_json: bool, parameters: TokenParameters) -> None:
    """Delete the stored tokens of NAME, or all of them.

    With --scope, --resource, --audience or --tenant, deletes the token alone that get stores with
    the same options.

    This does not revoke tokens: a copy elsewhere stays valid until it expires. Services keep their
    own tokens in memory, which are not affected.
    """
    stated = stated_in(TokenName.of("", parameters)) or None
    if stated and name is None:
        raise click.UsageError("name the provider whose token to delete")
    with report_problems():
        store = source.store()
        identity = None if name is None else source.select_valid([name])[0].spec.identity
        count = 0 if store is None else store.forget(identity, stated)
    if store is None:
        click.echo(NOT_STORED, err=True)
    if as_json:
        click.echo(json.dumps({"cleared": count}))
    elif store is not None:
        click.echo(f"{count} token{'' if count == 1 else 's'} deleted.", err=True)
