"""``tokenkeeper list``: the configured providers."""

from __future__ import annotations

import json

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import json_option, report_problems, source_options
from tokenkeeper.cli.source import Source

__all__ = ["list_"]


@click.command("list")
@json_option
@source_options
@click.pass_obj
def list_(source: Source, *, as_json: bool) -> None:
    """List the providers with their types. Sends no request.

    Providers whose configuration is invalid are reported on standard error, and make the exit
    code 2.
    """
    with report_problems():
        selection = source.select()
        found = [(each.provider_name, each.spec.provider_type) for each in selection.providers]
        if as_json:
            click.echo(json.dumps([{"provider_name": name, "type": kind} for name, kind in found]))
        else:
            _write(found)
        selection.raise_if_wrong()


def _write(found: list[tuple[str, str]]) -> None:
    # Not at the top, because `get` in a loop of a script does not need rich.
    from rich.cells import cell_len, set_cell_size

    found = [(escaped(name), kind) for name, kind in found]
    width = max((cell_len(name) for name, _ in found), default=0)
    for name, kind in found:
        click.echo(f"{set_cell_size(name, width)}  {kind}")
