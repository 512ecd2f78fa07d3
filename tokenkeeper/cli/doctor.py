"""``tokenkeeper doctor``: why a provider gets no token, step by step."""

from __future__ import annotations

import json
import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from tokenkeeper.cli.common import (
    ExitCode,
    Seconds,
    complete_names,
    json_option,
    report_problems,
    source_options,
)
from tokenkeeper.cli.source import Source
from tokenkeeper.doctor.findings import Level, Report, Step, first_failed
from tokenkeeper.exceptions import InvalidConfigurationError

if TYPE_CHECKING:
    from tokenkeeper.doctor.store_checks import StoreReport
    from tokenkeeper.doctor.targets import Target
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["doctor"]

_EPILOG = "\b\nExit codes, of the first provider with a failed step:\n" + "\n".join(
    [
        "   0  no step failed",
        *(f"  {step.value:2}  {step.label:<13} {step.question}" for step in Step if step < 20),
        "  20  store         Can the store be used, and is it set up so that it loses no token?",
        f"  21  {Step.SIGN_IN.label:<13} {Step.SIGN_IN.question}",
    ]
)


@click.command(epilog=_EPILOG, short_help="Find out step by step why there is no token.")
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_names)
@click.option(
    "--timeout",
    type=Seconds(min=0, min_open=True, max=600),
    default=10.0,
    show_default=True,
    help="Seconds for each step.",
)
@click.option("--strict", is_flag=True, help="Treat a warning as a failure in the exit code.")
@json_option
@source_options
@click.pass_context
def doctor(
    ctx: click.Context, names: tuple[str, ...], timeout: float, strict: bool, as_json: bool
) -> None:
    """Examine each provider, or the named ones, and report why it gets no token.

    Makes one token request per provider, without retries. Then examines the store, if one is
    configured. Prints no secret and no token.
    """
    # Not at the top: other commands need neither rich nor cryptography.
    from tokenkeeper.cli.doctor_screen import NoScreen, Screen
    from tokenkeeper.doctor.examine import examine
    from tokenkeeper.doctor.targets import find_targets

    screen = NoScreen() if as_json else Screen()
    examined: list[_Examined] = []
    source = ctx.ensure_object(Source)
    with report_problems(), screen:
        targets = find_targets(source.discovery(), names, os.environ, lambda: _store_of(source))
        kept_in = _store_of(source)
        for target in targets:
            screen.begin(target)
            examined.append(_Examined(target, strict))
            for report in examine(target, timeout=timeout, store=kept_in):
                screen.show(report)
                examined[-1].reports.append(report)
            screen.end(target, examined[-1].reports)
        store = _store_report(source, {text for each in examined for text in each.texts})
        if store is not None:
            screen.show_store(store)
        screen.conclude([(each.target.name, first_failed(each.reports)) for each in examined])
    codes = [each.exit_code for each in examined]
    codes += [store.exit_code(strict=strict)] if store else []
    code = next(filter(None, codes), int(ExitCode.OK))
    if as_json:
        content: dict[str, Any] = {
            "exit_code": code,
            "providers": [each.as_dict() for each in examined],
        }
        if store is not None:
            content["store"] = store.as_dict(strict=strict)
        click.echo(json.dumps(content, indent=2))
    ctx.exit(code)


def _store_of(source: Source) -> StoreSettings | None:
    """Return the configured store; ``None`` if there is none, or it is not valid."""
    with warnings.catch_warnings(), suppress(InvalidConfigurationError):
        warnings.simplefilter("ignore")  # all of it is reported in the section on the store
        return source.configured_store()
    return None


def _store_report(source: Source, shown: set[str]) -> StoreReport | None:
    """Return the report on the configured store; ``None`` if there is none.

    :param shown: what was reported about providers.
    """
    from tokenkeeper.doctor.store_checks import examine_store, invalid_store

    try:
        settings = source.configured_store()
    except InvalidConfigurationError as error:
        if shown.issuperset(error.problems or (str(error),)):
            return None  # the file can't be read at all
        return invalid_store(error)
    return None if settings is None else examine_store(settings)


@dataclass
class _Examined:
    """A provider and its reports so far."""

    target: Target
    strict: bool
    reports: list[Report] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        """What was found, in words."""
        return [finding.text for report in self.reports for finding in report.findings]

    @property
    def exit_code(self) -> int:
        bad = {Level.FAILED, Level.WARNING} if self.strict else {Level.FAILED}
        return next((int(each.step) for each in self.reports if each.level in bad), 0)

    def as_dict(self) -> dict[str, Any]:
        facts = self.target.facts
        return {
            "provider": self.target.name,
            "type": facts.kind if facts else None,
            "url": facts.shown_url if facts else None,
            "description": dict(facts.description) if facts else None,
            "exit_code": self.exit_code,
            "steps": [each.as_dict() for each in self.reports],
        }
