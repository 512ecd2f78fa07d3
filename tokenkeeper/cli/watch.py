"""``tokenkeeper watch``: a running keeper, as a table or as lines."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import (
    ExitCode,
    Seconds,
    complete_names,
    json_option,
    report_problem,
    report_problems,
    source_options,
)
from tokenkeeper.cli.source import Source
from tokenkeeper.cli.stored_provider import StoredTokenProvider
from tokenkeeper.cli.token_options import token_options
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.events import TokenEvent
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.names import NO_PARAMETERS, TokenParameters

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["watch"]

POLLS_PER_SECOND = 2


@click.command(short_help="Get tokens and watch their renewals.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--seconds", type=Seconds(min=0), help="Seconds to watch; until Ctrl-C by default.")
@json_option
@token_options
@source_options
@click.pass_context
def watch(
    ctx: click.Context,
    names: tuple[str, ...],
    *,
    seconds: float | None,
    as_json: bool,
    parameters: TokenParameters,
) -> None:
    """Get the tokens of all providers, or of the named ones, and watch their renewals.

    With --scope, --resource, --audience or --tenant, those tokens of the named providers.

    Shows a live table on a terminal; elsewhere, and with --json, prints a line for each event. A
    provider whose configuration is invalid is reported on standard error first, and makes the
    exit code 2.
    """
    from tokenkeeper.cli.screen import can_go_back, console

    if parameters != NO_PARAMETERS and not names:
        raise click.UsageError("name the providers whose tokens to get")
    source: Source = ctx.obj
    screen = console()
    lines = as_json or not can_go_back(screen)
    # Events arrive on the keeper's threads. They are written on this one, which has to notice when
    # standard output is closed, as with `| head`.
    events: SimpleQueue[TokenEvent] = SimpleQueue()
    with report_problems():
        selection = source.select(names)
        mistake = selection.error()
        if mistake is not None and (names or not selection.providers):
            raise mistake
        if mistake is not None:
            report_problem(mistake)
        providers = [source.stored(each, parameters=parameters) for each in selection.providers]
        with TokenKeeper(hooks=[events.put] if lines else []) as keeper:
            for provider in providers:
                keeper.add_provider(provider)
            if lines:
                _poll(keeper, seconds, lambda: _write_lines(events, as_json))
            else:
                _show_live(keeper, providers, screen, seconds)
    ctx.exit(ExitCode.OK if mistake is None else ExitCode.CONFIGURATION)


def _show_live(
    keeper: TokenKeeper,
    providers: list[StoredTokenProvider],
    screen: Console,
    seconds: float | None,
) -> None:
    """Show a table of the tokens, and keep it current."""
    from rich.live import Live

    from tokenkeeper.cli.rows import as_table, row_of

    with Live(console=screen, refresh_per_second=POLLS_PER_SECOND) as live:

        def show() -> None:
            health = keeper.health()["providers"]
            rows = [
                row_of(each, entry, entry["renews_in_seconds"])
                for each in providers
                for entry in [health[each.provider_name]]
            ]
            live.update(as_table(rows, screen.width))

        _poll(keeper, seconds, show)


def _poll(keeper: TokenKeeper, seconds: float | None, show: Callable[[], None]) -> None:
    """Ask for every token several times a second, without waiting."""
    deadline = None if seconds is None else SYSTEM_CLOCK.monotonic() + seconds
    never = threading.Event()
    while deadline is None or SYSTEM_CLOCK.monotonic() < deadline:
        for name in keeper.list_providers():
            try:
                keeper.get_token(name, timeout=0)
            except TokenAcquisitionError:
                continue  # a request is in flight, or its failure is shown
        SYSTEM_CLOCK.wait(never, 1 / POLLS_PER_SECOND)
        show()


def _write_lines(events: SimpleQueue[TokenEvent], as_json: bool) -> None:
    with suppress(Empty):
        while True:
            click.echo(_line_of(events.get_nowait(), as_json))


def _line_of(event: TokenEvent, as_json: bool) -> str:
    what = type(event).__name__
    fields = dataclasses.asdict(event)
    del fields["token_name"]  # this keeper has one token of each provider
    if as_json:
        return json.dumps({"event": what, **fields}, default=lambda moment: moment.isoformat())
    moment = f"{fields.pop('occurred_at'):%Y-%m-%dT%H:%M:%SZ}"
    rest = " ".join(
        f"{name}={_shortened(value)}" for name, value in fields.items() if value is not None
    )
    return f"{moment} {what} {rest}"


def _shortened(value: object) -> str:
    text = f"{value:.1f}" if isinstance(value, float) else str(value)
    return escaped(json.dumps(text, ensure_ascii=False) if " " in text else text)
