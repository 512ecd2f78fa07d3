"""Which providers there are to look at, and whether their variables and secret files are there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tokenkeeper.config.discovery import Discovery
from tokenkeeper.config.spec import Discovered
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.subject import Subject, subject_of
from tokenkeeper.exceptions import InvalidConfigurationError, UnknownProviderError

__all__ = ["Patient", "patients_from"]

_AUTHORITY = "AZURE_AUTHORITY_HOST"


@dataclass(frozen=True)
class Patient:
    """A provider to look at, or what keeps it from being made.

    :ivar name: the provider's, as far as it can be told; the file's where nothing could be read.
    :ivar subject: ``None`` where the variables step failed.
    :ivar variables: what that step found.
    """

    name: str
    subject: Subject | None
    variables: Report


def patients_from(
    path: Path | None, names: Iterable[str], environment: Mapping[str, str]
) -> list[Patient]:
    """Return the providers that *path* describes, or *environment* where there is no path.

    :param names: those to look at; all if there are none.
    :raises UnknownProviderError: for a name that the file does not have.
    """
    try:
        found = Discovery(path, environment).find(names)
    except UnknownProviderError:
        raise
    except InvalidConfigurationError as error:
        findings = tuple(failure(each) for each in error.problems or (str(error),))
        name = path.name if path else error.provider_name or "environment"
        return [Patient(name, None, Report(Step.VARIABLES, findings))]
    return [_patient(each, path, environment) for each in found]


def _patient(found: Discovered, path: Path | None, environment: Mapping[str, str]) -> Patient:
    findings = [failure(str(each)) for each in found.problems]
    if path and not found.problems:
        findings.append(ok(f"{path.name} read"))
    findings += _variables(found, path, environment)
    if path and found.secret_file:
        findings.append(ok(f"secret file {found.secret_file} read"))
    findings += [warning(each) for each in found.warnings]
    spec = found.spec
    subject = None if spec is None else subject_of(spec.make_provider(), spec.secrets)
    return Patient(found.name, subject, Report(Step.VARIABLES, tuple(findings)))


_WITHOUT = {
    "AZURE_AUTHORITY_HOST": "the public cloud is asked",
    "OAUTH2_SCOPE": "no scope is asked for",
}
"""What an optional variable of the environment's clients means if it is not set."""


def _variables(
    found: Discovered, path: Path | None, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield which of its variables are set, and what counts for the others."""
    given = {name for name in found.variables if environment.get(name, "").strip()}
    for name in found.variables:
        if name in given:
            yield ok(f"{name} is set")
        elif path and not found.problems:
            yield note(f"{name} is not set: its default counts")
        elif name in _WITHOUT and not found.problems and f"{name}S" not in given:
            yield note(f"{name} is not set: {_WITHOUT[name]}")
