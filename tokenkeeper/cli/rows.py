"""What ``status`` and ``watch`` show of a provider: a row, as a table or as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenkeeper.cli.kept import KeptProvider
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.schedule import state_at

__all__ = ["Row", "as_table", "row_of"]

_STYLE = {"fresh": "green", "renewing": "yellow", "expired": "red", "not held": "dim"}


@dataclass(frozen=True)
class Row:
    """One provider at one moment.

    :ivar state: "fresh", "renewing" or "expired", as of a keeper; "not held".
    """

    provider_name: str
    state: str
    remaining_seconds: float | None = None
    lifetime_seconds: float | None = None
    renews_in_seconds: float | None = None
    last_error: str | None = None


def row_of(provider: KeptProvider, health: dict[str, Any] | None = None) -> Row:
    """Return the row of *provider*, with what a keeper's ``health()`` says of it."""
    told = health or {}
    kept = provider.current or provider.peek()
    error = told.get("last_error")
    if kept is None:
        return Row(provider.provider_name, "not held", last_error=error)
    now = SYSTEM_CLOCK.monotonic()
    times = kept.deadlines(provider.buffer_seconds)
    renews_in = told.get("renews_in_seconds")
    if renews_in is None:
        renews_in = max(0.0, times.renew_at - now)
    return Row(
        provider.provider_name,
        state_at(now, times.stale_at, times.dead_at),
        max(0.0, times.ends_at - now),
        kept.lifetime_seconds,
        renews_in,
        error,
    )


def as_table(rows: Iterable[Row]) -> Group:
    """Return a table for the screen, and below it what failed, which is too long for a column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    failures = []
    table.add_column("provider", overflow="fold")
    table.add_column("state")
    table.add_column("remaining", justify="right")
    table.add_column("", width=12)
    table.add_column("renews in", justify="right")
    for row in rows:
        style = _STYLE[row.state]
        bar = None
        if row.remaining_seconds is not None and row.lifetime_seconds:
            share = row.remaining_seconds / row.lifetime_seconds
            bar = ProgressBar(1.0, share, width=12, complete_style=style, finished_style=style)
        table.add_row(
            row.provider_name,
            Text(row.state, style),
            _duration(row.remaining_seconds),
            bar,
            _duration(row.renews_in_seconds),
        )
        if row.last_error:
            failures.append(Text(f"last failure: {row.last_error}", "red"))
    return Group(table, *failures)


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
