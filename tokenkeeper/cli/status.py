"""``tokenkeeper status``: the stored tokens, and with ``--fetch`` those that are missing."""

from __future__ import annotations

import dataclasses
import json

import click

from tokenkeeper.cli.common import (
    ExitCode,
    complete_names,
    json_option,
    note_timeout,
    report_problems,
    source_options,
    timeout_option,
)
from tokenkeeper.cli.source import NOT_STORED, Source
from tokenkeeper.cli.stored_provider import StoredTokenProvider
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import TokenAcquisitionError, TokenWaitTimeoutError
from tokenkeeper.keeper import TokenKeeper

__all__ = ["status"]


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--fetch", is_flag=True, help="Request missing tokens first.")
@json_option
@source_options
@timeout_option
@click.pass_context
def status(
    ctx: click.Context, names: tuple[str, ...], *, fetch: bool, as_json: bool, timeout: float
) -> None:
    """Show the stored tokens of all providers, or of the named ones.

    A token that get stored with --scope, --resource, --audience or --tenant has its own row.

    Only --fetch sends requests; a token that can't be obtained then makes the exit code 1. A
    provider whose configuration is invalid is reported on standard error, and makes it 2.
    """
    # Not at the top, because `get` in a loop of a script does not need rich.
    from tokenkeeper.cli.rows import as_table, row_of
    from tokenkeeper.cli.screen import console

    source: Source = ctx.obj
    with report_problems():
        # Not closed, because that would wait for a hanging request. The process ends it anyway.
        keeper = TokenKeeper()
        selection = source.select(names)
        if names:
            selection.raise_if_wrong()
        providers = [source.stored(each) for each in selection.providers]
        for provider in providers:
            keeper.add_provider(provider)
        if not (fetch or source.store()):
            click.echo(NOT_STORED, err=True)
        if fetch:
            _fetch_all(keeper, providers, timeout)
        health = keeper.health()["providers"]
        rows = []
        for provider in providers:
            rows.append(row_of(provider, health[provider.provider_name]))
            chosen = [row_of(each) for each in provider.chosen()]
            rows += [row for row in chosen if row.state != "not held" or row.last_error]
        if as_json:
            click.echo(json.dumps([dataclasses.asdict(row) for row in rows]))
        else:
            screen = console()
            screen.print(as_table(rows, screen.width))
        selection.raise_if_wrong()
    missing = [row for row in rows if row.state in ("not held", "expired")]
    if fetch and not all(row.parameters for row in missing):
        ctx.exit(ExitCode.NO_TOKEN)


def _fetch_all(keeper: TokenKeeper, providers: list[StoredTokenProvider], timeout: float) -> None:
    """Request all tokens at the same time. The table shows the failures."""
    deadline = SYSTEM_CLOCK.monotonic() + timeout
    for wait in (False, True):  # the first round sends the requests, the second waits for them
        for provider in providers:
            left = max(0.0, deadline - SYSTEM_CLOCK.monotonic()) if wait else 0.0
            try:
                keeper.get_token(provider.provider_name, timeout=left)
            except TokenWaitTimeoutError:
                if wait:
                    note_timeout(provider, timeout)
            except TokenAcquisitionError:
                continue  # its row shows the reason
