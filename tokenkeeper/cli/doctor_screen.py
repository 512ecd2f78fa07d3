"""The output of ``tokenkeeper doctor`` for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from rich.table import Table
from rich.text import Text

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.screen import can_go_back, console
from tokenkeeper.doctor.description import unusual_entries
from tokenkeeper.doctor.findings import Finding, Level, Report, Step, first_failed
from tokenkeeper.doctor.store_checks import StoreReport
from tokenkeeper.doctor.targets import Target

__all__ = ["NoScreen", "Screen"]

_STYLES = {
    Level.OK: "green",
    Level.NOTE: "cyan",
    Level.SKIPPED: "dim",
    Level.WARNING: "yellow",
    Level.FAILED: "bold red",
}


class NoScreen:
    """Shows nothing, for JSON output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the screen."""

    def begin(self, target: Target) -> None:
        """Begin the examination of *target*."""

    def show(self, report: Report) -> None:
        """Show the report of a step."""

    def end(self, target: Target, reports: list[Report]) -> None:
        """End the examination of *target*, after all *reports*."""

    def show_store(self, report: StoreReport) -> None:
        """Show the report on the store."""

    def conclude(self, verdicts: list[tuple[str, Step | None]]) -> None:
        """Summarize all providers: each name with the step that failed, if one did."""


class Screen(NoScreen):
    """Writes each report at once. On a terminal the last line shows the current step."""

    def __init__(self) -> None:
        self._console = console()
        self._now = self._console.status("")
        self._skipped: list[tuple[str, str]] = []  # names of steps, each with the reason

    def __exit__(self, *_: object) -> None:
        """Restore the terminal's cursor."""
        self._now.stop()

    def begin(self, target: Target) -> None:
        """Write name, kind and URL."""
        facts = target.facts
        words = [facts.kind, *filter(None, [facts.shown_url])] if facts else []
        rest = "".join(f"  {escaped(each)}" for each in words)
        self._print(Text.assemble((escaped(target.name), "bold"), rest))
        if facts:
            self._describe(unusual_entries(facts.description, custom=facts.kind == "custom"))
        if can_go_back(self._console):
            self._now.start()

    def _describe(self, entries: Mapping[str, Any]) -> None:
        for name, value in entries.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            self._print(Text(escaped(f"  {name}: {text}"), "dim"))

    def show(self, report: Report) -> None:
        """Write a line for each finding, and the advice below it."""
        following = next((each.label for each in Step if each > report.step), "")
        self._now.update(f"{following} ...")
        skipped = _skipped(report)
        if self._skipped and self._skipped[0][1] != skipped:
            self._show_skipped()
        if skipped is not None:
            self._skipped.append((report.step.label, skipped))
            return
        label = report.step.label
        for finding in report.findings:
            self._show_finding(label, finding)
            label = ""

    def _show_finding(self, label: str, finding: Finding) -> None:
        self._row(Text(f"  {finding.level.value}", _STYLES[finding.level]), label, finding.text)
        if finding.advice:
            self._row("", "", f"-> {finding.advice}")

    def end(self, target: Target, reports: list[Report]) -> None:
        """Write the verdict."""
        self._show_skipped()
        self._now.stop()
        failed = first_failed(reports)
        warned = [each.step.label for each in reports if each.level is Level.WARNING]
        warnings = f", with warnings: {', '.join(warned)}" if warned else ""
        verdict = (f"{failed.label} failed", "bold red") if failed else ("ok", "green")
        self._print(Text.assemble((escaped(target.name), "bold"), ": ", verdict, warnings, "\n"))

    def show_store(self, report: StoreReport) -> None:
        """Write the report on the store, and the verdict."""
        self._print(Text.assemble(("store", "bold"), f"  {report.label}" if report.label else ""))
        before = ""
        for check, finding in report.by_check():
            self._show_finding(check if check != before else "", finding)
            before = check
        warned = report.warned
        warnings = f", with warnings: {', '.join(warned)}" if warned else ""
        verdict = ("failed", "bold red") if report.failed else ("ok", "green")
        self._print(Text.assemble(("store", "bold"), ": ", verdict, warnings, "\n"))

    def conclude(self, verdicts: list[tuple[str, Step | None]]) -> None:
        """Write how many providers are ok, if there are several, and which failed."""
        if len(verdicts) < 2:
            return
        wrong = [f"{escaped(name)} ({step.label})" for name, step in verdicts if step]
        failed = f"; failed: {', '.join(wrong)}" if wrong else ""
        self._print(Text(f"{len(verdicts) - len(wrong)} of {len(verdicts)} ok{failed}"))

    def _show_skipped(self) -> None:
        """Write the steps that were skipped for the same reason in one row."""
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
        row.add_column(overflow="fold")  # do not truncate URLs
        row.add_row(status, label, Text(escaped(text)))
        self._print(row)

    def _print(self, renderable: Text | Table) -> None:
        self._console.print(renderable)


def _skipped(report: Report) -> str | None:
    """Return why a step was skipped, if the report says nothing else."""
    if report.level is not Level.SKIPPED or len(report.findings) != 1:
        return None
    return report.findings[0].text
