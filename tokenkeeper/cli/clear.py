"""``tokenkeeper clear``: forget the tokens that are kept between two runs."""

from __future__ import annotations

import json

import click

from tokenkeeper.cli.common import complete_names, json_option, source_options, words_for_problems
from tokenkeeper.cli.source import NOTHING_IS_KEPT, Source

__all__ = ["clear"]


@click.command()
@click.argument("name", required=False, shell_complete=complete_names)
@json_option
@source_options
@click.pass_obj
def clear(source: Source, name: str | None, *, as_json: bool) -> None:
    """Forget the kept token of NAME, or all of them.

    The server is not told: a token that was copied elsewhere lives on to its end. Services have
    tokens of their own, in their memory, which this does not touch.
    """
    with words_for_problems():
        shelf = source.shelf()
        identity = None if name is None else source.select_valid([name])[0].spec.identity
        count = 0 if shelf is None else shelf.forget(identity)
    if shelf is None:
        click.echo(NOTHING_IS_KEPT, err=True)
    if as_json:
        click.echo(json.dumps({"cleared": count}))
    elif shelf is not None:
        click.echo(f"{count} token{'' if count == 1 else 's'} forgotten.", err=True)
