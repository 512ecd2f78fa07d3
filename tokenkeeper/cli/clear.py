"""``tokenkeeper clear``: delete stored tokens."""

from __future__ import annotations

import json

import click

from tokenkeeper.cli.common import complete_names, json_option, report_problems, source_options
from tokenkeeper.cli.source import NOT_STORED, Source

__all__ = ["clear"]


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@json_option
@source_options
@click.pass_obj
def clear(source: Source, name: str | None, *, as_json: bool) -> None:
    """Delete the stored token of NAME, or all of them.

    This does not revoke tokens: a copy elsewhere stays valid until it expires. Services keep their
    own tokens in memory, which are not affected.
    """
    with report_problems():
        store = source.store()
        identity = None if name is None else source.select_valid([name])[0].spec.identity
        count = 0 if store is None else store.forget(identity)
    if store is None:
        click.echo(NOT_STORED, err=True)
    if as_json:
        click.echo(json.dumps({"cleared": count}))
    elif store is not None:
        click.echo(f"{count} token{'' if count == 1 else 's'} deleted.", err=True)
