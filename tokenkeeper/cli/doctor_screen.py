"""What ``tokenkeeper doctor`` looks like on a screen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from rich.table import Table
from rich.text import Text

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.screen import can_go_back, console
from tokenkeeper.doctor.description import worth_showing
from tokenkeeper.doctor.findings import Level, Report, Step, first_failed
from tokenkeeper.doctor.sources import Patient

__all__ = ["Screen", "Silence"]

_STYLES = {
    Level.OK: "green",
    Level.NOTE: "cyan",
    Level.SKIPPED: "dim",
    Level.WARNING: "yellow",
    Level.FAILED: "bold red",
}


class Silence:
    """What programs get to see on the way: nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave the screen as it was found."""

    def begin(self, patient: Patient) -> None:
        """Head what is found of *patient*."""

    def show(self, report: Report) -> None:
        """Write what a step found."""

    def end(self, patient: Patient, reports: list[Report]) -> None:
        """Sum it up."""

    def conclude(self, verdicts: list[tuple[str, Step | None]]) -> None:
        """Sum up all: names, each with the step that failed, if one did."""


class Screen(Silence):
    """Writes each finding as soon as it is there, and below on a terminal what is looked at now."""

    def __init__(self) -> None:
        self._console = console()
        self._now = self._console.status("")
        self._skipped: list[tuple[str, str]] = []  # steps, each with the reason

    def __exit__(self, *_: object) -> None:
        """Give a terminal its cursor back."""
        self._now.stop()

    def begin(self, patient: Patient) -> None:
        """Write name, kind and URL."""
        subject = patient.subject
        words = [subject.kind, *filter(None, [subject.shown_url])] if subject else []
        rest = "".join(f"  {escaped(each)}" for each in words)
        self._print(Text.assemble((escaped(patient.name), "bold"), rest))
        if subject:
            self._describe(worth_showing(subject.description, custom=subject.kind == "custom"))
        if can_go_back(self._console):
            self._now.start()

    def _describe(self, entries: Mapping[str, Any]) -> None:
        for name, value in entries.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            self._print(Text(escaped(f"  {name}: {text}"), "dim"))

    def show(self, report: Report) -> None:
        """Write the findings in a line each, and what to do about each below it."""
        coming = next((each.label for each in Step if each > report.step), "")
        self._now.update(f"{coming} ...")
        skipped = _skipped(report)
        if self._skipped and self._skipped[0][1] != skipped:
            self._show_skipped()
        if skipped is not None:
            self._skipped.append((report.step.label, skipped))
            return
        label = report.step.label
        for finding in report.findings:
            status = Text(f"  {finding.level.value}", _STYLES[finding.level])
            self._row(status, label, finding.text)
            if finding.advice:
                self._row("", "", f"-> {finding.advice}")
            label = ""

    def end(self, patient: Patient, reports: list[Report]) -> None:
        """Write the verdict."""
        self._show_skipped()
        self._now.stop()
        failed = first_failed(reports)
        warned = [each.step.label for each in reports if each.level is Level.WARNING]
        warnings = f", with warnings: {', '.join(warned)}" if warned else ""
        verdict = (f"{failed.label} failed", "bold red") if failed else ("fit", "green")
        self._print(Text.assemble((escaped(patient.name), "bold"), ": ", verdict, warnings, "\n"))

    def conclude(self, verdicts: list[tuple[str, Step | None]]) -> None:
        """Write who failed, where there are several and one might be missed."""
        if len(verdicts) < 2:
            return
        wrong = [f"{escaped(name)} ({step.label})" for name, step in verdicts if step]
        failed = f"; failed: {', '.join(wrong)}" if wrong else ""
        self._print(Text(f"{len(verdicts) - len(wrong)} of {len(verdicts)} fit{failed}"))

    def _show_skipped(self) -> None:
        """Write the steps that were skipped for one reason in a row of their own."""
        if not self._skipped:
            return
        (label, text), *more = self._skipped
        if more:
            text = f"{text}: {', '.join(step for step, _ in self._skipped)}"
            label = ""
        self._row(Text(f"  {Level.SKIPPED.value}", _STYLES[Level.SKIPPED]), label, text)
        self._skipped = []

    def _row(self, status: Text | str, label: str, text: str) -> None:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=9)
        row.add_column(width=14)
        row.add_column(overflow="fold")  # the end of a URL counts
        row.add_row(status, label, Text(escaped(text)))
        self._print(row)

    def _print(self, what: Text | Table) -> None:
        self._console.print(what)


def _skipped(report: Report) -> str | None:
    """Return why a step was skipped, if that is all that is said of it."""
    if report.level is not Level.SKIPPED or len(report.findings) != 1:
        return None
    return report.findings[0].text
