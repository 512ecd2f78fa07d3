"""``tokenkeeper watch``: a keeper at work, on the screen or as lines."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue

import click

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.common import (
    ExitCode,
    Seconds,
    complete_names,
    json_option,
    source_options,
    tell,
    words_for_problems,
)
from tokenkeeper.cli.source import Source
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.events import TokenEvent
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.keeper import TokenKeeper

__all__ = ["watch"]

LOOKS_PER_SECOND = 2


@click.command(short_help="Get the tokens, and watch them being renewed.")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=complete_names)
@click.option("--seconds", type=Seconds(min=0), help="How long; by default until Ctrl-C.")
@json_option
@source_options
@click.pass_context
def watch(
    ctx: click.Context, names: tuple[str, ...], *, seconds: float | None, as_json: bool
) -> None:
    """Get the tokens of all providers, or of those named, and watch them being renewed.

    On a terminal it is a table that changes; elsewhere, and with --json, a line for each event.
    A provider that can't be made is told on standard error first, and makes the exit code 2.
    """
    from rich.live import Live

    from tokenkeeper.cli.rows import as_table, row_of
    from tokenkeeper.cli.screen import can_go_back, console

    source: Source = ctx.obj
    screen = console()
    lines = as_json or not can_go_back(screen)
    # Events come on the keeper's threads, and are written on this one: here it is noticed where
    # nobody reads any more, as with `| head`.
    events: SimpleQueue[TokenEvent] = SimpleQueue()
    with words_for_problems():
        selection = source.select(names)
        mistake = selection.error()
        if mistake is not None and (names or not selection.providers):
            raise mistake
        if mistake is not None:
            tell(mistake)
        providers = [source.kept(each) for each in selection.providers]
        with TokenKeeper(hooks=[events.put] if lines else []) as keeper:
            for provider in providers:
                keeper.add_provider(provider)
            if lines:
                _look(keeper, seconds, lambda: _write_lines(events, as_json))
            else:
                with Live(console=screen, refresh_per_second=LOOKS_PER_SECOND) as live:

                    def show() -> None:
                        health = keeper.health()["providers"]
                        told = [(each, health[each.provider_name]) for each in providers]
                        rows = [row_of(e, said, said["renews_in_seconds"]) for e, said in told]
                        live.update(as_table(rows, screen.width))

                    _look(keeper, seconds, show)
    ctx.exit(ExitCode.OK if mistake is None else ExitCode.CONFIGURATION)


def _look(keeper: TokenKeeper, seconds: float | None, show: Callable[[], None]) -> None:
    """Ask for each token again and again, without waiting for any."""
    ends_at = None if seconds is None else SYSTEM_CLOCK.monotonic() + seconds
    never = threading.Event()
    while ends_at is None or SYSTEM_CLOCK.monotonic() < ends_at:
        for name in keeper.list_providers():
            try:
                keeper.get_token(name, timeout=0)
            except TokenAcquisitionError:
                continue  # it is on its way, or it is shown why not
        SYSTEM_CLOCK.wait(never, 1 / LOOKS_PER_SECOND)
        show()


def _write_lines(events: SimpleQueue[TokenEvent], as_json: bool) -> None:
    with suppress(Empty):
        while True:
            click.echo(_line_of(events.get_nowait(), as_json))


def _line_of(event: TokenEvent, as_json: bool) -> str:
    what = type(event).__name__
    fields = dataclasses.asdict(event)
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
