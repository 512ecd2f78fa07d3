"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import click
from rich import box
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tokenkeeper.cli.demo.report import Plan, Side, Snapshot
from tokenkeeper.cli.demo.summary import counts, duration, introduction, write
from tokenkeeper.cli.screen import can_go_back, console

__all__ = ["live_view", "table"]

_LINE_SECONDS = 2.0
"""The time between lines where standard output is not a terminal."""


@contextmanager
def live_view(plan: Plan, *, as_json: bool) -> Iterator[Callable[[Snapshot], None]]:
    """Give a function that shows a snapshot in a form that suits standard output."""
    if as_json:
        yield _show_nothing
        return
    write(introduction(plan) + "\n")
    screen = console()
    if can_go_back(screen):
        with Live(console=screen, auto_refresh=False) as live:
            yield partial(_refresh, live)
    else:
        yield _Lines().show


def _show_nothing(snapshot: Snapshot) -> None:
    """Leave standard output to the JSON report."""


def _refresh(live: Live, snapshot: Snapshot) -> None:
    live.update(table(snapshot), refresh=True)


class _Lines:
    """Writes the counts every few seconds, and whenever the outage begins or ends."""

    def __init__(self) -> None:
        self._due = 0.0
        self._was_up = True

    def show(self, snapshot: Snapshot) -> None:
        if snapshot.elapsed_seconds < self._due and snapshot.endpoint_is_up == self._was_up:
            return
        self._due = snapshot.elapsed_seconds + _LINE_SECONDS
        self._was_up = snapshot.endpoint_is_up
        click.echo(f"{snapshot.elapsed_seconds:5.1f} s  token endpoint {_state(snapshot)}")
        for name, side in (("Tokenkeeper", snapshot.keeper), ("naive client", snapshot.naive)):
            click.echo(f"{'':9}{name + ':':14}{counts(side)}")


def _failures(side: Side) -> Text:
    count = side.unsuccessful_calls
    return Text(f"{count:,}", "bold red" if count else "green")


_ROWS: dict[str, Callable[[Side], str | Text]] = {
    "token requests": lambda side: f"{side.server.token_requests:,}",
    "  most at once": lambda side: f"{side.server.max_concurrent_token_requests:,}",
    "API calls": lambda side: f"{side.callers.attempts:,}",
    "  failed": _failures,
    "slowest call": lambda side: duration(side.callers.slowest_call),
    "slowest token": lambda side: duration(side.callers.slowest_wait),
}


def table(snapshot: Snapshot) -> Table:
    """Return the comparison as a table of about 40 columns."""
    title = Text.assemble(
        f"{snapshot.elapsed_seconds:.0f} s, token endpoint ",
        (_state(snapshot), "bold green" if snapshot.endpoint_is_up else "bold red"),
    )
    shown = Table(
        title=title, title_style="", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    shown.add_column()
    shown.add_column("Tokenkeeper", justify="right", no_wrap=True)
    shown.add_column("naive client", justify="right", no_wrap=True)
    for label, show in _ROWS.items():
        shown.add_row(label, show(snapshot.keeper), show(snapshot.naive))
    return shown


def _state(snapshot: Snapshot) -> str:
    return "up" if snapshot.endpoint_is_up else "DOWN"
