"""``tokenkeeper doctor``: what keeps a provider from its tokens, step by step."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from tokenkeeper.cli.common import ExitCode, Source, json_option, words_for_errors
from tokenkeeper.doctor.findings import Level, Report, Step

if TYPE_CHECKING:
    from tokenkeeper.doctor.sources import Patient

__all__ = ["doctor"]

_EPILOG = "\b\nExit codes, of the first provider with a failed step:\n" + "\n".join(
    [
        "   0  no step failed",
        *(f"  {step.value:2}  {step.label:<12} {step.question}" for step in Step),
    ]
)


@click.command(epilog=_EPILOG)
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True, max=600),
    default=10.0,
    show_default=True,
    help="Seconds for each step.",
)
@click.option("--strict", is_flag=True, help="Count a warning as a failure in the exit code.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, names: tuple[str, ...], timeout: float, strict: bool, as_json: bool
) -> None:
    """Look at each provider, or those NAMEd, and say what keeps it from its tokens.

    Makes one token request for each, without retries. Prints no secret and no token.
    """
    # Not at the top: other commands need neither rich nor cryptography.
    from tokenkeeper.cli.doctor_screen import Screen, Silence
    from tokenkeeper.doctor.examination import examine, skip_after
    from tokenkeeper.doctor.sources import patients_from

    with words_for_errors():
        patients = patients_from(ctx.ensure_object(Source).path, names, os.environ)
    screen = Silence() if as_json else Screen()
    results: list[tuple[Patient, list[Report]]] = []
    for patient in patients:
        screen.begin(patient)
        reports: list[Report] = []
        rest: Iterable[Report] = skip_after(Step.VARIABLES)
        if patient.subject is not None:
            rest = examine(patient.subject, timeout=timeout)
        for report in _all(patient.variables, rest):
            screen.show(report)
            reports.append(report)
        results.append((patient, reports))
    codes = [_exit_code(reports, strict) for _, reports in results]
    code = next((each for each in codes if each), int(ExitCode.OK))
    if as_json:
        providers = [_as_dict(*each, code) for each, code in zip(results, codes, strict=True)]
        click.echo(json.dumps({"exit_code": code, "providers": providers}, indent=2))
    else:
        screen.end(results)
    ctx.exit(code)


def _all(first: Report, rest: Iterable[Report]) -> Iterable[Report]:
    yield first
    yield from rest


def _exit_code(reports: list[Report], strict: bool) -> int:
    bad = {Level.FAILED, Level.WARNING} if strict else {Level.FAILED}
    return next((int(each.step) for each in reports if each.level in bad), 0)


def _as_dict(patient: Patient, reports: list[Report], code: int) -> dict[str, Any]:
    subject = patient.subject
    return {
        "provider": patient.name,
        "type": subject.kind if subject else None,
        "url": subject.shown_url if subject else None,
        "exit_code": code,
        "steps": [
            {
                "step": report.step.name.lower(),
                "status": report.level.value,
                "findings": [
                    {"status": each.level.value, "text": each.text, "advice": each.advice}
                    for each in report.findings
                ],
                "facts": dict(report.facts),
            }
            for report in reports
        ],
    }
