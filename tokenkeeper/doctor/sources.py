"""Which providers there are to look at, and whether their variables and secret files are there."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.environment import (
    AZURE,
    OAUTH2,
    Client,
    client_from_environment,
    clients_from_environment,
)
from tokenkeeper.config.loading import load_pieces
from tokenkeeper.config.problems import Problems
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.subject import Subject, subject_of
from tokenkeeper.exceptions import (
    ConfigurationWarning,
    InvalidConfigurationError,
    UnknownProviderError,
)

if TYPE_CHECKING:
    from tokenkeeper.config.registration import Piece

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
    if path is None:
        return list(_from_environment(list(names), environment))
    return _from_file(path, list(names), environment)


# ---- a file


def _from_file(path: Path, names: list[str], environment: Mapping[str, str]) -> list[Patient]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConfigurationWarning)
        try:
            pieces = load_pieces(path, environment)
        except InvalidConfigurationError as broken:
            findings = tuple(failure(each) for each in broken.problems or (str(broken),))
            return [Patient(path.name, None, Report(Step.VARIABLES, findings))]
    known = dict.fromkeys(each.name for each in pieces)
    for name in names:
        if name not in known:
            raise UnknownProviderError(
                f"{escaped(path.name)} has no provider {name!r}, but: "
                f"{', '.join(map(repr, known))}",
                provider_name=name,
            )
    # Where nobody knows better, what is wrong with the file is told once.
    told = [warning(str(each.message)) for each in caught]
    patients = []
    for piece in pieces:
        if names and piece.name not in names:
            continue
        findings = (
            *(failure(each) for each in piece.problems),
            *([] if piece.problems else [ok(f"{path.name} read")]),
            *_variables_of(piece, environment),
            *_secret_file_of(piece),
            *told,
        )
        told = []
        made = piece.registration
        subject = None if made is None else subject_of(made.make_provider(), made.secrets)
        patients.append(Patient(piece.name, subject, Report(Step.VARIABLES, findings)))
    return patients


class _Asked(Mapping[str, str]):
    """An environment that remembers which of its variables somebody wanted."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.names: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        self.names[name] = None
        return self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)


def _variables_of(piece: Piece, environment: Mapping[str, str]) -> Iterator[Finding]:
    from tokenkeeper.config.variables import fill_in

    asked = _Asked(environment)
    fill_in(piece.content, asked, Problems(""), ())
    for name in asked.names:
        if environment.get(name):
            yield ok(f"{name} is set")
        elif not piece.problems:
            yield note(f"{name} is not set: its default counts")


def _secret_file_of(piece: Piece) -> Iterator[Finding]:
    name = piece.registration and piece.registration.block.client_secret_file
    if name:
        yield ok(f"secret file {name} read")


# ---- the environment


def _from_environment(names: list[str], environment: Mapping[str, str]) -> Iterator[Patient]:
    if names:
        for name in names:
            try:
                yield _described(client_from_environment(name, environment), environment)
            except InvalidConfigurationError as problem:
                yield _not_described(name, problem, environment)
        return
    try:
        clients = clients_from_environment(environment)
    except InvalidConfigurationError as problem:
        yield _not_described(problem.provider_name or "environment", problem, environment)
        return
    for client in clients.values():
        yield _described(client, environment)


def _described(client: Client, environment: Mapping[str, str]) -> Patient:
    azure = client.kind == "azure"
    findings = list(_set_in(environment, *(AZURE if azure else OAUTH2)))
    if azure and client.authority is None:
        findings.append(note(f"{_AUTHORITY} is not set: the public cloud is asked"))
    if not azure and client.scope is None:
        findings.append(note("OAUTH2_SCOPE is not set: no scope is asked for"))
    report = Report(Step.VARIABLES, tuple(findings))
    return Patient(client.provider_name, subject_of(client.make_provider()), report)


def _not_described(
    name: str, problem: InvalidConfigurationError, environment: Mapping[str, str]
) -> Patient:
    findings = (failure(str(problem)), *_set_in(environment, *OAUTH2, *AZURE))
    return Patient(name, None, Report(Step.VARIABLES, findings))


def _set_in(environment: Mapping[str, str], *family: str) -> Iterator[Finding]:
    """Yield which variables of a family are set, those that may be included."""
    prefixes = {each.partition("_")[0] for each in family}
    optional = [p + end for p in prefixes for end in ("_CLIENT_SECRET_FILE", "_SCOPE", "_SCOPES")]
    for name in (*family, *sorted(optional), *([_AUTHORITY] if AZURE[0] in family else ())):
        if environment.get(name, "").strip():
            yield ok(f"{name} is set")
