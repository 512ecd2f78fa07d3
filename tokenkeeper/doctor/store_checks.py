"""Examines the store: what its engine finds, the keys, the records and the clocks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tokenkeeper._support.escaping import escaped
from tokenkeeper.doctor.findings import Finding, Level
from tokenkeeper.exceptions import InvalidConfigurationError, StoreUnavailableError
from tokenkeeper.stores.examination import StoreFinding
from tokenkeeper.stores.key_lines import NAMES
from tokenkeeper.stores.key_rotation import read_lines
from tokenkeeper.stores.overview import overview
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["STORE_EXIT_CODE", "StoreReport", "examine_store", "invalid_store"]

STORE_EXIT_CODE = 20
"""The exit code if something is wrong with the store, and with nothing before it."""

MOST_RECORDS = 1000
"""How many records are opened."""

MOST_REASONS = 3

_LEVELS = {"ok": Level.OK, "warning": Level.WARNING, "problem": Level.FAILED}


@dataclass(frozen=True)
class StoreReport:
    """What was found about a store.

    :ivar label: the store in words, without a secret.
    """

    label: str
    findings: tuple[StoreFinding, ...]

    @property
    def failed(self) -> bool:
        """Whether the store can't be used, or loses tokens."""
        return any(each.status == "problem" for each in self.findings)

    @property
    def warned(self) -> list[str]:
        """The checks with a warning."""
        return list(dict.fromkeys(e.check for e in self.findings if e.status == "warning"))

    def exit_code(self, *, strict: bool) -> int:
        """Return the exit code of the command; 0 if all is well."""
        return STORE_EXIT_CODE if self.failed or (strict and self.warned) else 0

    def by_check(self) -> list[tuple[str, Finding]]:
        """Return the findings in the doctor's own form, each with the name of its check."""
        return [
            (each.check, Finding(_LEVELS[each.status], each.message, each.advice or None))
            for each in self.findings
        ]

    def as_dict(self, *, strict: bool) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "store": self.label,
            "exit_code": self.exit_code(strict=strict),
            "findings": [
                {
                    "check": each.check,
                    "status": _LEVELS[each.status].value,
                    "text": each.message,
                    "advice": each.advice or None,
                }
                for each in self.findings
            ],
        }


def invalid_store(error: InvalidConfigurationError) -> StoreReport:
    """Return the report on a store whose configuration is not valid."""
    problems = error.problems or (str(error),)
    return StoreReport(
        "", tuple(StoreFinding("configuration", "problem", escaped(each)) for each in problems)
    )


def examine_store(settings: StoreSettings) -> StoreReport:
    """Return what is to be said about a store. A record of the examination itself may be made.

    Takes a few operations of the store, and one for each of at most 1,000 records.
    """
    findings = [*_engine(settings), *_keys(settings)]
    if all(each.check != "reachable" or each.status == "ok" for each in findings):
        findings += _records(settings)
    return StoreReport(escaped(settings.label), tuple(findings))


def _engine(settings: StoreSettings) -> list[StoreFinding]:
    examine = getattr(settings.store, "examine", None)
    try:
        if examine is not None:
            return list(examine())
        settings.store.read("examination")
    except StoreUnavailableError as error:
        what, _, advice = str(error).partition(". ")
        return [StoreFinding("reachable", "problem", what, advice)]
    return [StoreFinding("reachable", "ok", f"{escaped(settings.label)} answers")]


def _keys(settings: StoreSettings) -> Iterator[StoreFinding]:
    path = settings.options.key_file if settings.options else None
    if path is None:
        if getattr(settings.store, "is_private", False) is not True:
            yield StoreFinding(
                "key",
                "warning",
                "records are not encrypted, so read access to the store reveals the tokens",
                "Set key_file. Create one with: tokenkeeper store new-key FILE",
            )
        return
    try:
        _, lines = read_lines(path)
    except InvalidConfigurationError as error:
        yield StoreFinding("key", "problem", escaped(error))
        return
    kids = [line.kid for line in lines if line.kid != NAMES]
    more = f", {', '.join(kids[1:])} only open{'s' if len(kids) == 2 else ''}" * (len(kids) > 1)
    yield StoreFinding("key", "ok", f"{escaped(path)}: {kids[0]} seals{more}")


def _records(settings: StoreSettings) -> Iterator[StoreFinding]:
    try:
        seen = overview(settings, limit=MOST_RECORDS)
    except StoreUnavailableError as error:
        what, _, advice = str(error).partition(". ")
        yield StoreFinding("readable", "problem", what, advice)
        return
    count, shown = seen.totals.records, seen.totals.shown
    of = f" of {count:,}" if count > shown else ""
    prefix = "the token can't be read: "
    unreadable = Counter(
        (each.unreadable.removeprefix(prefix), each.size_bytes > 0)
        for each in seen.records
        if each.unreadable
    )
    if not unreadable:
        records = "record" if shown == 1 else "records"
        yield StoreFinding("readable", "ok", f"all {shown:,}{of} {records} can be read")
    for (reason, is_sealed), number in unreadable.most_common(MOST_REASONS):
        yield StoreFinding(
            "readable",
            "problem",
            f"{number:,} of {shown:,} can't be read: {reason}",
            ("Give this process the key file of the others. " if is_sealed else "")
            + "What no process can read any more is deleted by: tokenkeeper store purge",
        )
    differ = [each.clocks_differ_seconds for each in seen.records if each.clocks_differ]
    if differ:
        worst = max(differ, key=abs)
        yield StoreFinding(
            "clocks",
            "warning",
            f"the clocks of the store, this machine and those that requested {len(differ):,} "
            f"tokens differ by up to {abs(worst):.0f} s, which costs requests",
            "Synchronize them (NTP)",
        )
