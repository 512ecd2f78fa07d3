"""What ``tokenkeeper doctor`` looks like on a screen."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

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
        """Say nothing."""

    def show(self, report: Report) -> None:
        """Say nothing."""

    def end(self, results: list[tuple[Patient, list[Report]]]) -> None:
        """Say nothing."""


class Screen(Silence):
    """Writes each finding as soon as it is there."""

    def __init__(self) -> None:
        # Lines are broken for people only: a log is searched by the line.
        width = None if sys.stdout.isatty() else 10_000
        self._console = Console(width=width, highlight=False)

    def begin(self, patient: Patient) -> None:
        """Head the findings."""
        subject = patient.subject
        words = [subject.kind, *filter(None, [subject.shown_url])] if subject else []
        self._console.print(Text.assemble((patient.name, "bold"), *(f"  {each}" for each in words)))

    def show(self, report: Report) -> None:
        """Write a step's findings."""
        label = report.step.label
        for finding in report.findings:
            self._row(finding.level.value, _STYLES[finding.level], label, finding.text)
            if finding.advice:
                self._row("", "", "", f"-> {finding.advice}")
            label = ""

    def _row(self, status: str, style: str, label: str, text: str) -> None:
        row = Table.grid(padding=(0, 1))
        row.add_column(width=9)
        row.add_column(width=11)
        row.add_column()
        row.add_row(Text(f"  {status}", style), label, Text(text))
        self._console.print(row)

    def end(self, results: list[tuple[Patient, list[Report]]]) -> None:
        """Sum it up."""
        self._console.print()
        for patient, reports in results:
            failed = next((each.step.label for each in reports if each.failed), None)
            warned = [each.step.label for each in reports if each.level is Level.WARNING]
            verdict = f"{failed} failed" if failed else "fit"
            if warned:
                verdict += f", with warnings: {', '.join(warned)}"
            self._console.print(
                Text.assemble((patient.name, "bold"), ": ", (verdict, "bold red" if failed else ""))
            )
