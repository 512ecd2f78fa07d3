"""The vocabulary of a report: steps, levels and findings. No rendering, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any

__all__ = [
    "Finding",
    "Level",
    "Report",
    "Step",
    "failure",
    "first_failed",
    "note",
    "ok",
    "skipped",
    "warning",
]


class Step(IntEnum):
    """The steps of an examination, in order. The number is the exit code if the step fails."""

    VARIABLES = 2  # the exit code of every command for a wrong configuration
    CREDENTIAL_FILES = 10
    PROXY = 11
    DNS = 12
    TCP = 13
    TLS = 14
    CLOCK = 15
    METADATA = 16
    CREDENTIALS = 17
    LIFETIME = 18
    SCOPE = 19
    SIGN_IN = 21  # 20 is the store

    @property
    def label(self) -> str:
        """The name in the output for people."""
        return _LABELS.get(self) or self.name.lower()

    @property
    def question(self) -> str:
        """The question that the step answers."""
        return _QUESTIONS[self]


_LABELS = {
    Step.CREDENTIAL_FILES: "credentials",
    Step.DNS: "DNS",
    Step.TCP: "TCP",
    Step.TLS: "TLS",
    Step.CREDENTIALS: "token request",
    Step.SIGN_IN: "sign-in",
}

_QUESTIONS = {
    Step.VARIABLES: "Is the configuration valid, and do its variables and secret files exist?",
    Step.CREDENTIAL_FILES: "Are its keys, certificates and assertions readable and valid?",
    Step.PROXY: "Is there a proxy, and can it be used?",
    Step.DNS: "Does the host name resolve?",
    Step.TCP: "Does one of the addresses accept a connection?",
    Step.TLS: "Is the server's certificate valid for this host and issued by a trusted CA?",
    Step.CLOCK: "Do this machine and the server agree on the time?",
    Step.METADATA: "Does the server's metadata match the configuration?",
    Step.CREDENTIALS: "Does the server grant a token?",
    Step.LIFETIME: "Does the token live long enough to be renewed in time?",
    Step.SCOPE: "Was every requested scope granted?",
    Step.SIGN_IN: "If a person has to sign in: is that done, kept, and possible?",
}


class Level(Enum):
    """How serious a finding is, the least serious first."""

    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that a step found.

    :ivar text: what it found, in a line without a secret.
    :ivar advice: what to do about it; ``None`` if nothing has to be done.
    """

    level: Level
    text: str
    advice: str | None = None


def ok(text: str) -> Finding:
    """Return a finding that something works."""
    return Finding(Level.OK, text)


def note(text: str, advice: str | None = None) -> Finding:
    """Return a finding that is good to know."""
    return Finding(Level.NOTE, text, advice)


def warning(text: str, advice: str | None = None) -> Finding:
    """Return a finding of something that works, but may cause trouble."""
    return Finding(Level.WARNING, text, advice)


def failure(text: str, advice: str | None = None) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(Level.FAILED, text, advice)


def skipped(text: str) -> Finding:
    """Return a finding that a step was skipped, and why."""
    return Finding(Level.SKIPPED, text)


@dataclass(frozen=True)
class Report:
    """The findings of one step.

    :ivar facts: the findings for programs: names and values that JSON can hold.
    """

    step: Step
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """The level of the most serious finding."""
        order = list(Level)
        return max((each.level for each in self.findings), key=order.index)

    @property
    def failed(self) -> bool:
        """Whether the step failed, so that later steps cannot work."""
        return self.level is Level.FAILED

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON can hold it."""
        return {
            "step": self.step.name.lower(),
            "status": self.level.value,
            "findings": [
                {"status": each.level.value, "text": each.text, "advice": each.advice}
                for each in self.findings
            ],
            "facts": dict(self.facts),
        }


def first_failed(reports: Iterable[Report]) -> Step | None:
    """Return the first step that failed, if one did."""
    return next((each.step for each in reports if each.failed), None)
