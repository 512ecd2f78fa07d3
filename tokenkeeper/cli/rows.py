"""What ``status`` and ``watch`` show of a provider: a row, as a table or as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.stored_provider import KeptProvider
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.schedule import state_at

__all__ = ["Row", "as_table", "row_of"]

_BAR = 12
_WIDTH_WITH_BARS = 60

_STYLE = {"fresh": "green", "renewing": "yellow", "expired": "red", "not held": "dim"}


@dataclass(frozen=True)
class Row:
    """One provider at one moment.

    :ivar state: "fresh", "renewing" or "expired", as of a keeper; "not held".
    :ivar renews_in_seconds: ``None`` where there is nothing to renew.
    :ivar last_error: why the last request brought no token; ``None`` if it brought one.
    :ivar last_failure_at: when that was, in ISO 8601.
    """

    provider_name: str
    state: str
    remaining_seconds: float | None = None
    lifetime_seconds: float | None = None
    renews_in_seconds: float | None = None
    last_error: str | None = None
    last_failure_at: str | None = None


def row_of(
    provider: KeptProvider, health: Mapping[str, Any], renews_in: float | None = None
) -> Row:
    """Return the row of *provider*, with the trouble that a keeper's ``health()`` has with it.

    :param renews_in: seconds to the renewal by a keeper that is there to stay. One that takes over
        a token in the middle of its life counts from there; by default it is the whole life.
    """
    name = provider.provider_name
    kept = provider.current or provider.peek()
    error, failed_at = health["last_error"], health["last_failure_at"]
    if error is None and (noted := provider.last_failure()):
        error, failed_at = noted.error, noted.failed_at.isoformat()
    if kept is None:
        return Row(name, "not held", last_error=error, last_failure_at=failed_at)
    now = SYSTEM_CLOCK.monotonic()
    times = kept.deadlines(provider.buffer_seconds)
    state = state_at(now, times.stale_at, times.dead_at)
    if renews_in is None:
        renews_in = max(0.0, times.renew_at - now)
    return Row(
        name,
        state,
        max(0.0, times.ends_at - now),
        kept.lifetime_seconds,
        None if state == "expired" else renews_in,  # whoever needs it asks, sooner than a keeper
        error,
        failed_at,
    )


def as_table(rows: Iterable[Row], width: int) -> Group:
    """Return a table for the screen, and below it what failed, which is too long for a column.

    :param width: of the screen; the bar is left out where it would take the names' place.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    failures = []
    has_bars = width >= _WIDTH_WITH_BARS
    table.add_column("provider", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("remaining", justify="right", no_wrap=True)
    if has_bars:
        table.add_column("", width=_BAR)
    table.add_column("renews in", justify="right", no_wrap=True)
    for row in rows:
        style = _STYLE[row.state]
        bar = None
        if row.remaining_seconds is not None and row.lifetime_seconds:
            share = row.remaining_seconds / row.lifetime_seconds
            bar = ProgressBar(1.0, share, width=_BAR, complete_style=style, finished_style=style)
        table.add_row(
            Text(escaped(row.provider_name)),  # a plain text might have markup in it
            Text(row.state, style),
            _duration(row.remaining_seconds),
            *([bar] if has_bars else []),
            _duration(row.renews_in_seconds),
        )
        if row.last_error:
            ago = _ago(row.last_failure_at)
            failures.append(Text(f"last failure{ago}: {escaped(row.last_error)}", "red"))
    return Group(table, *failures)


def _ago(moment: str | None) -> str:
    if moment is None:
        return ""
    passed = SYSTEM_CLOCK.time() - datetime.fromisoformat(moment).timestamp()
    return f", {_duration(max(0.0, passed))} ago"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
