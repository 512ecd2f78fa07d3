"""The rows that ``status`` and ``watch`` show: one for each token."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.stored_provider import StoredTokenProvider
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.names import stated_in
from tokenkeeper.schedule import state_at

__all__ = ["Row", "as_table", "row_of"]

_BAR = 12
_WIDTH_WITH_BARS = 60

_NOT_ASKED: Mapping[str, Any] = {"last_error": None, "last_failure_at": None}

_STYLE = {"fresh": "green", "renewing": "yellow", "expired": "red", "not held": "dim"}


@dataclass(frozen=True)
class Row:
    """The state of one token.

    :ivar parameters: what was asked for beyond the provider's registration, by name.
    :ivar state: "fresh", "renewing" or "expired" as a keeper reports it, or "not held".
    :ivar renews_in_seconds: ``None`` without a valid token.
    :ivar last_error: why the last request failed; ``None`` if it succeeded.
    :ivar last_failure_at: when it failed, in ISO 8601.
    """

    provider_name: str
    state: str
    remaining_seconds: float | None = None
    lifetime_seconds: float | None = None
    renews_in_seconds: float | None = None
    last_error: str | None = None
    last_failure_at: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)


def row_of(
    provider: StoredTokenProvider,
    health: Mapping[str, Any] = _NOT_ASKED,
    renews_in: float | None = None,
) -> Row:
    """Return the row of *provider*.

    :param health: its entry in the keeper's ``health()``, if it is in a keeper.
    :param renews_in: the seconds until a running keeper renews the token, which depend on when the
        keeper took it over. By default they are counted from the token's whole lifetime.
    """
    name = provider.provider_name
    stored = provider.current or provider.peek()
    error, failed_at = health["last_error"], health["last_failure_at"]
    if error is None and (noted := provider.last_failure()):
        error, failed_at = noted.error, noted.failed_at.isoformat()
    parameters = json.loads(stated_in(provider.token_name) or "{}")
    if stored is None:
        return Row(
            name,
            "not held",
            last_error=error,
            last_failure_at=failed_at,
            parameters=parameters,
        )
    now = SYSTEM_CLOCK.monotonic()
    times = stored.deadlines(provider.buffer_seconds)
    state = state_at(now, times.stale_at, times.dead_at)
    if renews_in is None:
        renews_in = max(0.0, times.renew_at - now)
    return Row(
        name,
        state,
        max(0.0, times.ends_at - now),
        stored.lifetime_seconds,
        None if state == "expired" else renews_in,  # the next caller requests one
        error,
        failed_at,
        parameters,
    )


def as_table(rows: Iterable[Row], width: int) -> Group:
    """Return a table for the screen, with the errors below it because they are long.

    :param width: the width of the screen; a narrow one has no column with bars.
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
            Text(escaped(_label(row))),  # a str could contain markup
            Text(row.state, style),
            _duration(row.remaining_seconds),
            *([bar] if has_bars else []),
            _duration(row.renews_in_seconds),
        )
        if row.last_error:
            ago = _ago(row.last_failure_at)
            failures.append(Text(f"last failure{ago}: {escaped(row.last_error)}", "red"))
    return Group(table, *failures)


def _label(row: Row) -> str:
    """Return what the row is called on a screen."""
    words = [row.provider_name]
    for name, value in row.parameters.items():
        words.append(f"{name}={value if isinstance(value, str) else ' '.join(value)}")
    return " ".join(words)


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
