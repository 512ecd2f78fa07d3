"""``tokenkeeper list``: the providers that are described."""

from __future__ import annotations

import json

import click

from tokenkeeper.cli.common import json_option, source_options, words_for_problems
from tokenkeeper.cli.source import Source

__all__ = ["list_"]


@click.command("list")
@json_option
@source_options
@click.pass_obj
def list_(source: Source, *, as_json: bool) -> None:
    """List the providers, each with its type. Asks no server."""
    with words_for_problems():
        found = [(each.provider_name, each.kind) for each in source.registrations()]
    if as_json:
        click.echo(json.dumps([{"provider_name": name, "type": kind} for name, kind in found]))
        return
    width = max((len(name) for name, _ in found), default=0)
    for name, kind in found:
        click.echo(f"{name:{width}}  {kind}")
