"""The demo in words: what it is about to show, and how it went."""

from __future__ import annotations

import json
from collections.abc import Iterator

import click

from tokenkeeper.cli.demo.report import Plan, Report, Side
from tokenkeeper.cli.screen import can_go_back, console

__all__ = ["counts", "duration", "introduction", "summary_text", "write", "write_report"]


def introduction(plan: Plan) -> str:
    """Return what the demo is about to show, in two lines."""
    return (
        f"One keeper serves {_callers(plan)} for {plan.seconds:g} s; each token lives "
        f"{plan.lifetime_seconds:g} s.\n"
        "The same number uses naive clients. Midway, the token endpoints go down."
    )


def summary_text(report: Report, *, compare: bool = True) -> str:
    """Return the outcome in sentences, a line each; the last one is the verdict.

    :param compare: whether to compare the two sides, as the live table does.
    """
    comparison = _about_both(report) if compare else ()
    return "\n".join([*_about_keeper(report), *comparison, _verdict(report)])


def _about_keeper(report: Report) -> Iterator[str]:
    plan, end = report.plan, report.end
    callers, server = end.keeper.callers, end.keeper.server
    refused = f"{callers.refused:,}" if callers.refused else "none"
    yield (
        f"{_callers(plan)} made {callers.calls:,} API calls in {end.elapsed_seconds:.0f} s; "
        f"{refused} {'was' if callers.refused < 2 else 'were'} refused."
    )
    yield (
        f"The keeper made {server.token_requests:,} token requests, never more than "
        f"{server.max_concurrent_token_requests} at once; {end.renewals} renewed the token."
    )
    if report.outage_began is not None:
        yield (
            f"The token endpoint, down for {report.outage_seconds:.1f} s from second "
            f"{report.outage_began:.1f} on, rejected {report.outage_requests} of them."
        )
    count = plan.threads + plan.tasks
    asked = f", requested by {count:,} callers at once," if count > 1 else ""
    yield f"The first token{asked} took {duration(callers.first_wait)}."
    yield (
        f"After that get_token took {duration(report.median_wait)} (median), "
        f"{duration(report.p99_wait)} (p99), {duration(callers.slowest_wait)} (slowest)."
    )


def _about_both(report: Report) -> Iterator[str]:
    for name, side in (("Naive clients", report.end.naive), ("Tokenkeeper", report.end.keeper)):
        yield f"{name}: {counts(side)}, the slowest took {duration(side.callers.slowest_call)}."


def _verdict(report: Report) -> str:
    if report.problems:
        return "NOT as promised: " + "; ".join(report.problems) + "."
    if report.interrupted:
        return "Interrupted; up to then all promises were kept."
    return "As promised: no expired token, no refused call, no caller noticed the outage."


def counts(side: Side) -> str:
    """Return how many token requests one side made, and how many of its calls failed."""
    requests = side.server.token_requests
    return (
        f"{requests:,} token request{'' if requests == 1 else 's'}, "
        f"{side.unsuccessful_calls:,} of {side.callers.attempts:,} calls failed"
    )


def _callers(plan: Plan) -> str:
    kinds = [(plan.threads, "thread"), (plan.tasks, "task")]
    return " and ".join(f"{n} {kind}{'' if n == 1 else 's'}" for n, kind in kinds if n)


def duration(seconds: float) -> str:
    """Return *seconds* with a unit that suits them."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.1f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def write_report(report: Report, *, as_json: bool) -> None:
    """Write the outcome to standard output, in words or as one JSON object."""
    if as_json:
        click.echo(json.dumps(report.as_dict()))
    else:
        has_table = can_go_back(console())
        write(("" if has_table else "\n") + summary_text(report, compare=not has_table))


def write(text: str) -> None:
    """Write *text*, wrapped between words on a terminal and not at all elsewhere."""
    screen = console()
    screen.print(text, markup=False, soft_wrap=not screen.file.isatty())
