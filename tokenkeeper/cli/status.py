"""``tokenkeeper status``: the kept tokens, or with ``--fetch`` those that are there to be had."""

from __future__ import annotations

import dataclasses
import json

import click

from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    late,
    source_options,
    timeout_option,
    words_for_problems,
)
from tokenkeeper.cli.source import NOTHING_IS_KEPT, Source
from tokenkeeper.cli.stored_provider import KeptProvider
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import TokenAcquisitionError, TokenWaitTimeoutError
from tokenkeeper.keeper import TokenKeeper

__all__ = ["status"]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--fetch", is_flag=True, help="Ask for the tokens that are not there first.")
@json_option
@source_options
@timeout_option
@click.pass_context
def status(
    ctx: click.Context, names: tuple[str, ...], *, fetch: bool, as_json: bool, timeout: float
) -> None:
    """Show the tokens of all providers, or of those named.

    These are the tokens that this command keeps between two runs. Without --fetch no server is
    asked. With it, a token that can't be had makes the exit code 1. A provider that can't be made
    is told on standard error, and makes it 2.
    """
    # Not at the top: `get` in a script's loop needs no rich.
    from tokenkeeper.cli.rows import as_table, row_of
    from tokenkeeper.cli.screen import console

    source: Source = ctx.obj
    with words_for_problems():
        # Not closed, which would wait for a request that hangs: it ends with the process, too.
        keeper = TokenKeeper()
        selection = source.select(names)
        if names:
            selection.raise_if_wrong()
        providers = [source.kept(each) for each in selection.providers]
        for provider in providers:
            keeper.add_provider(provider)
        if not (fetch or source.shelf()):
            click.echo(NOTHING_IS_KEPT, err=True)
        if fetch:
            _fetch_all(keeper, providers, timeout)
        health = keeper.health()["providers"]
        rows = [row_of(provider, health[provider.provider_name]) for provider in providers]
        if as_json:
            click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
        else:
            screen = console()
            screen.print(as_table(rows, screen.width))
        selection.raise_if_wrong()
    if fetch and any(row.state in ("not held", "expired") for row in rows):
        ctx.exit(ExitCode.NO_TOKEN)


def _fetch_all(keeper: TokenKeeper, providers: list[KeptProvider], timeout: float) -> None:
    """Ask for all tokens side by side; who can't have one shows in the table."""
    ends_at = SYSTEM_CLOCK.monotonic() + timeout
    for wait in (False, True):  # the first round sends the requests, the second waits for them
        for provider in providers:
            left = max(0.0, ends_at - SYSTEM_CLOCK.monotonic()) if wait else 0.0
            try:
                keeper.get_token(provider.provider_name, timeout=left)
            except TokenWaitTimeoutError:
                if wait:
                    late(provider, timeout)
            except TokenAcquisitionError:
                continue  # its row says why
