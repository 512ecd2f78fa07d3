"""``tokenkeeper demo``: one keeper beside a naive client."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import click

from tokenkeeper.cli.common import ExitCode, Seconds
from tokenkeeper.cli.endings import own_signal_handlers

__all__ = ["demo"]


@click.command(short_help="Watch one keeper at work while its server goes down.")
@click.option(
    "--seconds",
    type=Seconds(1, 86400),
    default=15.0,
    show_default=True,
    help="How long the demo runs.",
)
@click.option(
    "--threads",
    type=click.IntRange(0, 1000),
    default=32,
    show_default=True,
    help="How many threads call the API, on each side.",
)
@click.option(
    "--tasks",
    type=click.IntRange(0, 10000),
    default=200,
    show_default=True,
    help="How many asyncio tasks call the API, on each side.",
)
@click.option(
    "--lifetime",
    type=Seconds(1, 3600),
    default=6.0,
    show_default=True,
    help="How many seconds each token lives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print only one JSON object, at the end.")
@click.pass_context
def demo(
    ctx: click.Context, seconds: float, threads: int, tasks: int, lifetime: float, as_json: bool
) -> None:
    """Watch one keeper serve threads and tasks while its server goes down.

    Starts authorization servers with a protected API on loopback, and callers of the API: one
    half shares a keeper, the other half uses naive clients that each request their own tokens.
    Exits with 1 if the keeper breaks a promise: if one of its tokens is refused, for example.
    """
    # Not at the top: `get` needs neither rich nor a server.
    from tokenkeeper.cli.demo import scenario, screen
    from tokenkeeper.cli.demo.descriptors import ensure_descriptors
    from tokenkeeper.cli.demo.report import SHORTEST_RUN, Plan
    from tokenkeeper.cli.demo.summary import write_report

    if not threads + tasks:
        raise click.UsageError("there are no callers: set --threads or --tasks to more than 0")
    if seconds < lifetime * SHORTEST_RUN:
        raise click.UsageError(
            f"the run is too short to show a renewal: set --seconds to at least "
            f"{lifetime * SHORTEST_RUN:g}, which is {SHORTEST_RUN:g} times --lifetime"
        )
    plan = Plan(seconds, threads, tasks, lifetime)
    ensure_descriptors(plan)
    with _interrupt() as interrupted, screen.live_view(plan, as_json=as_json) as show:
        report = scenario.run(plan, show, interrupted)
    write_report(report, as_json=as_json)
    if report.interrupted:
        ctx.exit(ExitCode.INTERRUPTED)
    ctx.exit(1 if report.problems else 0)


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Record Ctrl-C, after which the report follows. A second one does what it did before."""
    presses = 0

    def press(number: int, _: FrameType | None) -> None:
        nonlocal presses
        presses += 1
        signal.signal(number, before)

    before = signal.getsignal(signal.SIGINT)
    with own_signal_handlers():  # the demo never waits for long
        if before is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, press)
        try:
            yield lambda: presses > 0
        finally:
            signal.signal(signal.SIGINT, before)
