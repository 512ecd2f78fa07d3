"""What ``tokenkeeper doctor`` looks like on a screen."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from tokenkeeper.cli.screen import console
from tokenkeeper.doctor.findings import Level, Report
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

    def begin(self, patient: Patient) -> None:
        """Head what is found of *patient*."""

    def show(self, report: Report) -> None:
        """Write what a step found."""

    def end(self, patient: Patient, reports: list[Report]) -> None:
        """Sum it up."""


class Screen(Silence):
    """Writes each finding as soon as it is there."""

    def __init__(self) -> None:
        self._console = console()

    def begin(self, patient: Patient) -> None:
        """Write name, kind and URL."""
        subject = patient.subject
        words = [subject.kind, *filter(None, [subject.shown_url])] if subject else []
        self._print(Text.assemble((patient.name, "bold"), *(f"  {each}" for each in words)))

    def show(self, report: Report) -> None:
        """Write the findings in a line each, and what to do about each below it."""
        label = report.step.label
        for finding in report.findings:
            status = Text(f"  {finding.level.value}", _STYLES[finding.level])
            self._row(status, label, finding.text)
            if finding.advice:
                self._row("", "", f"-> {finding.advice}")
            label = ""

    def end(self, patient: Patient, reports: list[Report]) -> None:
        """Write the verdict."""
        failed = next((each.step.label for each in reports if each.failed), None)
        warned = [each.step.label for each in reports if each.level is Level.WARNING]
        warnings = f", with warnings: {', '.join(warned)}" if warned else ""
        verdict = (f"{failed} failed", "bold red") if failed else ("fit", "green")
        self._print(Text.assemble((patient.name, "bold"), ": ", verdict, warnings, "\n"))

    def _row(self, status: Text | str, label: str, text: str) -> None:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=9)
        row.add_column(width=12)
        row.add_column(overflow="fold")  # the end of a URL counts
        row.add_row(status, label, Text(text))
        self._print(row)

    def _print(self, what: Text | Table) -> None:
        self._console.print(what)
