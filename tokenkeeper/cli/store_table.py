"""The table of a store's records."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group
from rich.table import Table
from rich.text import Text

from tokenkeeper.cli.rows import duration
from tokenkeeper.stores.views import RecordView

__all__ = ["as_table"]

_WIDTH_WITH_ORIGIN = 76

_STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}


def as_table(records: Iterable[RecordView], width: int) -> Group:
    """Return a table for the screen, with claims and failures below it because they are long.

    :param width: the width of the screen; a narrow one has no column with where a token comes from.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    has_origin = width >= _WIDTH_WITH_ORIGIN
    table.add_column("name", overflow="fold")
    table.add_column("state", no_wrap=True)
    table.add_column("remaining", justify="right", no_wrap=True)
    table.add_column("generation", justify="right", no_wrap=True)
    if has_origin:
        table.add_column("granted to", overflow="fold")
    notes = []
    for record in records:
        style = _STYLES[record.level]
        remaining = record.remaining_seconds
        cells = [
            Text(record.name),
            Text(record.state, style),
            Text(duration(None if remaining is None else max(0.0, remaining))),
            Text(str(record.generation)),
            Text(record.granted_to or "-"),
        ]
        table.add_row(*(cells if has_origin else cells[:-1]))
        notes += [Text(f"{record.name}: {text}", style) for text in _notes(record)]
    return Group(table, *notes)


def _notes(record: RecordView) -> Iterable[str]:
    """Yield what is to be said about a record beside its row."""
    if record.unreadable:
        yield record.unreadable
    if record.claim is not None:
        yield f"claimed{_ago(record.claim.age_seconds)}: {record.claim.intent}"
    if record.failure is not None:
        by = f", by {record.failure.reported_by}" if record.failure.reported_by else ""
        yield f"last failure{_ago(record.failure.age_seconds)}{by}: {record.failure.message}"


def _ago(seconds: float | None) -> str:
    return "" if seconds is None else f", {duration(seconds)} ago"
