"""What the demo looks like: a live table on a terminal, plain lines elsewhere, JSON on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from tokenkeeper.cli.demo.story import Moment, Plan, Report

__all__ = ["conclude", "onlooker", "words"]

_LINE_SECONDS = 2.0
"""How often a line is written where there is no terminal."""


@contextmanager
def onlooker(plan: Plan, *, as_json: bool) -> Iterator[Callable[[Moment], None]]:
    """Give what is shown how it stands, fit for where standard output goes."""
    if as_json:
        yield _see_nothing
        return
    _write(
        f"One keeper, {_callers(plan)}, tokens that live {plan.lifetime_seconds:g} s, "
        f"for {plan.seconds:g} s. On the way the token endpoint goes down for a while."
    )
    screen = Console()
    if screen.file.isatty() and not screen.is_dumb_terminal:
        with Live(auto_refresh=False) as live:
            yield partial(_refresh, live)
    else:
        yield _Lines().show


def _see_nothing(moment: Moment) -> None:
    """Leave standard output to the report."""


def _refresh(live: Live, moment: Moment) -> None:
    live.update(_table(moment), refresh=True)


def conclude(report: Report, *, as_json: bool) -> None:
    """Say how it went."""
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    else:
        _write("\n" + words(report))


def _write(text: str) -> None:
    # Broken between words on a terminal, and not at all elsewhere.
    screen = Console(highlight=False)
    screen.print(text, markup=False, soft_wrap=not screen.file.isatty())


class _Lines:
    """A line now and then, and whenever the token endpoint goes down or comes back."""

    def __init__(self) -> None:
        self._due = 0.0
        self._was_up = True

    def show(self, moment: Moment) -> None:
        if moment.elapsed_seconds < self._due and moment.endpoint_is_up == self._was_up:
            return
        self._due = moment.elapsed_seconds + _LINE_SECONDS
        self._was_up = moment.endpoint_is_up
        parts = [f"{name} {value}" for name, value in _facts(moment).items()]
        click.echo(f"{moment.elapsed_seconds:5.1f} s  " + ", ".join(parts))


def _table(moment: Moment) -> Table:
    table = Table(title=f"{moment.elapsed_seconds:.0f} s", show_header=False, min_width=44)
    table.add_column()
    table.add_column(justify="right")
    for name, value in _facts(moment).items():
        alarming = value == "DOWN" or (name == "refused calls" and value != "0")
        table.add_row(name, value, style="bold red" if alarming else None)
    return table


def _facts(moment: Moment) -> dict[str, str]:
    callers, server = moment.callers, moment.server
    return {
        "token endpoint": "up" if moment.endpoint_is_up else "DOWN",
        "calls": f"{callers.calls:,}",
        "refused calls": f"{max(callers.refused, server.api_refusals):,}",
        "token requests": f"{server.token_requests:,}",
        "renewals": f"{moment.renewals:,}",
        "slowest get_token": _short(callers.slowest_wait),
    }


def words(report: Report) -> str:
    """Return the summary in plain words."""
    plan, end = report.plan, report.end
    callers, server = end.callers, end.server
    refused = f"{callers.refused:,}" if callers.refused else "none"
    told = []
    told.append(
        f"In {end.elapsed_seconds:.0f} s {_callers(plan)} called the API {callers.calls:,} times; "
        f"{refused} of the calls {'was' if callers.refused < 2 else 'were'} refused."
    )
    told.append(
        f"All of them together made {server.token_requests} token requests, never more than "
        f"{server.max_concurrent_token_requests} at once; {end.renewals} renewed the token."
    )
    if report.outage_began is not None:
        told.append(
            f"From second {report.outage_began:.1f} on the token endpoint was down for "
            f"{report.outage_seconds:.1f} s and turned away {report.outage_requests} of these "
            "requests."
        )
    told.append(
        f"The first token, which {plan.threads + plan.tasks} callers asked for at once, took "
        f"{_short(callers.first_wait)}."
    )
    told.append(
        f"From then on get_token took {_short(report.median_wait)} (median), "
        f"{_short(report.p99_wait)} (99 of 100 calls), {_short(callers.slowest_wait)} (slowest)."
    )
    if report.problems:
        told.append("NOT as promised: " + "; ".join(report.problems) + ".")
    elif report.interrupted:
        told.append("Interrupted; up to then all was as promised.")
    else:
        told.append("As promised: no dead token, no call refused, and nobody saw the outage.")
    return "\n".join(told)


def _callers(plan: Plan) -> str:
    kinds = [(plan.threads, "thread"), (plan.tasks, "task")]
    return " and ".join(f"{n} {kind}{'' if n == 1 else 's'}" for n, kind in kinds if n)


def _short(seconds: float) -> str:
    if seconds < 0.001:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"
