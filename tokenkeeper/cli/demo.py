"""``tokenkeeper demo``: one keeper at work."""

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
@click.option("--seconds", type=Seconds(1, 86400), default=15.0, show_default=True)
@click.option("--threads", type=click.IntRange(0, 1000), default=32, show_default=True)
@click.option("--tasks", type=click.IntRange(0, 10000), default=200, show_default=True)
@click.option(
    "--lifetime",
    type=Seconds(1, 3600),
    default=6.0,
    show_default=True,
    help="How many seconds each token lives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object at the end, only.")
@click.pass_context
def demo(
    ctx: click.Context, seconds: float, threads: int, tasks: int, lifetime: float, as_json: bool
) -> None:
    """Watch one keeper serve threads and tasks while its server goes down.

    Starts an authorization server and a protected API on loopback, and callers that use the API.
    Exits with 1 if a call was refused or a token was dead.
    """
    # Not at the top: `get` needs neither rich nor a server.
    from tokenkeeper.demo import screen, story

    if not threads + tasks:
        raise click.UsageError("there is nobody to call the API: give --threads or --tasks")
    if seconds < lifetime * story.LEAST_LIVES:
        raise click.UsageError(
            f"--seconds must be at least {lifetime * story.LEAST_LIVES:g}, which is "
            f"{story.LEAST_LIVES:g} times --lifetime, so that a renewal can be seen"
        )
    plan = story.Plan(seconds, threads, tasks, lifetime)
    with _interrupt() as interrupted, screen.onlooker(plan, as_json=as_json) as watch:
        report = story.play(plan, watch, interrupted)
    screen.conclude(report, as_json=as_json)
    if report.interrupted:
        ctx.exit(ExitCode.INTERRUPTED)
    ctx.exit(1 if report.problems else 0)


@contextmanager
def _interrupt() -> Iterator[Callable[[], bool]]:
    """Have Ctrl-C noted, as a report is due then; a second one does what it did before."""
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
