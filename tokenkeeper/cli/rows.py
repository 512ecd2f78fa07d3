"""The rows that ``status`` and ``watch`` show: one for each token."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tokenkeeper._support.escaping import escaped
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.models import TokenInfo
from tokenkeeper.stores.views import RecordView

__all__ = ["Row", "as_table", "duration", "row_of_keeper", "row_of_record"]

_BAR = 12
_WIDTH_WITH_BARS = 60
_WIDTH_WITH_ORIGIN = 100

_STYLE = {
    "fresh": "green",
    "renewing": "yellow",
    "expired": "red",
    "not held": "dim",
    "unreadable": "red",
}


@dataclass(frozen=True)
class Row:
    """The state of one token.

    :ivar parameters: what was asked for beyond the provider's registration, by name.
    :ivar state: "fresh", "renewing" or "expired" as a keeper reports it, "not held", or
        "unreadable".
    :ivar renews_in_seconds: ``None`` without a valid token.
    :ivar last_error: why the last request failed; ``None`` if it succeeded.
    :ivar last_failure_at: when it failed, in ISO 8601; ``None`` if that is unknown.
    :ivar generation: the number of the token in the store; 0 without a store.
    :ivar granted_to: the process that requested the token, as ``host:pid``; ``None`` if unknown.
    :ivar holder: what the process that holds the claim is about to do, and which one it is;
        ``None`` if the claim is free.
    :ivar held_seconds: for how long; ``None`` if that is unknown.
    """

    provider_name: str
    state: str
    remaining_seconds: float | None = None
    lifetime_seconds: float | None = None
    renews_in_seconds: float | None = None
    last_error: str | None = None
    last_failure_at: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 0
    granted_to: str | None = None
    holder: str | None = None
    held_seconds: float | None = None


def row_of_record(
    provider_name: str, view: RecordView, parameters: Mapping[str, Any] | None = None
) -> Row:
    """Return the row of a record of the store.

    :param parameters: what was asked for beyond the registration; by default nothing.
    """
    error, failed_at = view.unreadable or None, None
    if view.failure is not None:
        error = view.failure.message
        failed_at = _moment(view.failure.age_seconds)
    remaining, renews_in = view.remaining_seconds, None
    if remaining is not None and view.deadlines is not None and view.state != "expired":
        renews_in = max(0.0, view.deadlines.renew_at - (view.age_seconds or 0.0))
    return Row(
        provider_name,
        "not held" if view.state == "none" else view.state,
        None if remaining is None else max(0.0, remaining),
        view.lifetime_seconds,
        renews_in,  # None if it is expired: the next caller requests one
        error,
        failed_at,
        parameters or {},
        view.generation,
        view.granted_to or None,
        view.claim.intent if view.claim else None,
        view.claim.age_seconds if view.claim else None,
    )


def row_of_keeper(
    provider_name: str,
    info: TokenInfo | None,
    health: Mapping[str, Any],
    parameters: Mapping[str, Any] | None = None,
    view: RecordView | None = None,
) -> Row:
    """Return the row of a token as a keeper has it.

    :param info: what the keeper says about the token.
    :param health: its entry in the keeper's ``health()``.
    :param view: its record in the store, if there is one.
    """
    claim = None if view is None else view.claim
    row = Row(
        provider_name,
        "not held",
        last_error=health["last_error"],
        last_failure_at=health["last_failure_at"],
        parameters=parameters or {},
        holder=claim.intent if claim else None,
        held_seconds=claim.age_seconds if claim else None,
    )
    if info is None:
        return row
    return replace(
        row,
        state=info["state"],
        remaining_seconds=max(0.0, info["remaining_seconds"]),
        lifetime_seconds=view.lifetime_seconds if view else None,
        renews_in_seconds=None if info["state"] == "expired" else info["renews_in_seconds"],
        generation=info["generation"],
        granted_to=info["granted_to"],
    )


def as_table(rows: Iterable[Row], width: int) -> Group:
    """Return a table for the screen, with claims and errors below it because they are long.

    :param width: the width of the screen; a narrow one has no column with bars, and a medium one
        none with where a token comes from.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    notes: list[Text] = []
    has_bars, has_origin = width >= _WIDTH_WITH_BARS, width >= _WIDTH_WITH_ORIGIN
    table.add_column("provider", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("remaining", justify="right", no_wrap=True)
    if has_bars:
        table.add_column("", width=_BAR)
    table.add_column("renews in", justify="right", no_wrap=True)
    if has_origin:
        table.add_column("generation", justify="right", no_wrap=True)
        table.add_column("granted to", overflow="fold")
    for row in rows:
        style = _STYLE[row.state]
        bar = None
        if row.remaining_seconds is not None and row.lifetime_seconds:
            share = row.remaining_seconds / row.lifetime_seconds
            bar = ProgressBar(1.0, share, width=_BAR, complete_style=style, finished_style=style)
        origin = [Text(str(row.generation or "-")), Text(escaped(row.granted_to or "-"))]
        table.add_row(
            Text(escaped(_label(row))),  # a str could contain markup
            Text(row.state, style),
            duration(row.remaining_seconds),
            *([bar] if has_bars else []),
            duration(row.renews_in_seconds),
            *(origin if has_origin else []),
        )
        notes += _notes(row)
    return Group(table, *notes)


def _notes(row: Row) -> Iterator[Text]:
    if row.holder:
        ago = "" if row.held_seconds is None else f", {duration(row.held_seconds)} ago"
        yield Text(f"claimed{ago}: {escaped(row.holder)}", "yellow")
    if row.last_error:
        ago = _ago(row.last_failure_at)
        yield Text(f"last failure{ago}: {escaped(row.last_error)}", "red")


def _label(row: Row) -> str:
    """Return what the row is called on a screen."""
    words = [row.provider_name]
    for name, value in row.parameters.items():
        words.append(f"{name}={value if isinstance(value, str) else ' '.join(value)}")
    return " ".join(words)


def _moment(age_seconds: float | None) -> str | None:
    """Return when something happened, in ISO 8601; ``None`` if that is unknown."""
    if age_seconds is None:
        return None
    return datetime.fromtimestamp(SYSTEM_CLOCK.time() - age_seconds, UTC).isoformat()


def _ago(moment: str | None) -> str:
    if moment is None:
        return ""
    passed = SYSTEM_CLOCK.time() - datetime.fromisoformat(moment).timestamp()
    return f", {duration(max(0.0, passed))} ago"


def duration(seconds: float | None) -> str:
    """Return a duration for a screen."""
    if seconds is None:
        return "-"
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
