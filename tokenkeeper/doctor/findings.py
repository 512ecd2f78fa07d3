"""What an examination finds: steps, and findings in words. No rendering, no I/O."""

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
    """A step of the examination, in order; its number is the exit code of one that failed."""

    VARIABLES = 2  # what every command ends with where the configuration is at fault
    PROXY = 11
    DNS = 12
    TCP = 13
    TLS = 14
    CLOCK = 15
    METADATA = 16
    CREDENTIALS = 17
    LIFETIME = 18
    SCOPE = 19

    @property
    def label(self) -> str:
        """How people call it."""
        return _LABELS.get(self) or self.name.lower()

    @property
    def question(self) -> str:
        """What the step asks."""
        return _QUESTIONS[self]


_LABELS = {
    Step.DNS: "DNS",
    Step.TCP: "TCP",
    Step.TLS: "TLS",
    Step.CREDENTIALS: "token request",
}

_QUESTIONS = {
    Step.VARIABLES: "Is the configuration whole, and are its variables and secret files there?",
    Step.PROXY: "Is there a proxy on the way, and can it be used?",
    Step.DNS: "Does the host's name have addresses?",
    Step.TCP: "Does one of the addresses accept a connection?",
    Step.TLS: "Is the server's certificate valid, for this host and for our CAs?",
    Step.CLOCK: "Do this machine and the server agree on the time?",
    Step.METADATA: "Does the server's metadata fit the configuration?",
    Step.CREDENTIALS: "Does the server grant a token?",
    Step.LIFETIME: "Does the token live long enough to be renewed in peace?",
    Step.SCOPE: "Was every scope granted that was asked for?",
}


class Level(Enum):
    """How good or bad a finding is, the best first."""

    OK = "ok"
    NOTE = "note"
    SKIPPED = "skipped"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    :ivar text: what, in a line without a secret.
    :ivar advice: what to do about it, where something is to be done.
    """

    level: Level
    text: str
    advice: str | None = None


def ok(text: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(Level.OK, text)


def note(text: str, advice: str | None = None) -> Finding:
    """Return a finding that is worth knowing."""
    return Finding(Level.NOTE, text, advice)


def warning(text: str, advice: str | None = None) -> Finding:
    """Return a finding of something that works today."""
    return Finding(Level.WARNING, text, advice)


def failure(text: str, advice: str | None = None) -> Finding:
    """Return a finding of something that does not work."""
    return Finding(Level.FAILED, text, advice)


def skipped(text: str) -> Finding:
    """Return a finding that there was nothing to look at, and why."""
    return Finding(Level.SKIPPED, text)


@dataclass(frozen=True)
class Report:
    """What one step found.

    :ivar facts: the same for programs: names and values that JSON can hold.
    """

    step: Step
    findings: tuple[Finding, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        """The worst of the findings."""
        order = list(Level)
        return max((each.level for each in self.findings), key=order.index)

    @property
    def failed(self) -> bool:
        """Whether what depends on this step can't work."""
        return self.level is Level.FAILED

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it."""
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
    """Return the step that keeps a provider from its tokens."""
    return next((each.step for each in reports if each.failed), None)
