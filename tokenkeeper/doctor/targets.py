"""The providers to examine, and whether their configuration is complete."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tokenkeeper.config.discovery import Discovery
from tokenkeeper.config.spec import Discovered
from tokenkeeper.doctor.findings import Finding, Report, Step, failure, note, ok, warning
from tokenkeeper.doctor.provider_facts import ProviderFacts, read_facts
from tokenkeeper.exceptions import InvalidConfigurationError, UnknownProviderError

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["Target", "find_targets"]


@dataclass(frozen=True)
class Target:
    """A provider to examine, valid or not.

    :ivar name: the provider's name, if it is known, or the name of its file.
    :ivar facts: ``None`` if the configuration is invalid.
    :ivar variables: the report of the first step.
    :ivar keeper: has the providers whose tokens its requests need; ``None`` if they need none.
    """

    name: str
    facts: ProviderFacts | None
    variables: Report
    keeper: TokenKeeper | None = None


def find_targets(
    discovery: Discovery,
    names: Iterable[str],
    environment: Mapping[str, str],
    store: Callable[[], StoreSettings | None] = lambda: None,
) -> list[Target]:
    """Return the providers that *discovery* finds.

    :param names: the providers to return; all by default.
    :param environment: the variables.
    :param store: returns the configured store, where the tokens of others are taken from; it is
        called after the providers were found, so that the file is read once.
    :raises UnknownProviderError: if the file describes no provider of a name.
    """
    path = discovery.path
    try:
        found = discovery.find(names)
    except UnknownProviderError:
        raise
    except InvalidConfigurationError as error:
        findings = tuple(failure(each) for each in error.problems or (str(error),))
        name = path.name if path else error.provider_name or "environment"
        return [Target(name, None, Report(Step.VARIABLES, findings))]
    keeper = _keeper_of(discovery, store()) if any(each.needs for each in found) else None
    return [_target(each, path, environment, keeper) for each in found]


def _keeper_of(discovery: Discovery, store: StoreSettings | None) -> TokenKeeper:
    """Return a keeper for requests that need the token of another provider.

    It shares no refusal with the processes that use *store*.
    """
    from tokenkeeper.keeper import TokenKeeper

    keeper = TokenKeeper(background=False, cooldown_seconds=0, store=store)
    for each in discovery.find():
        if each.spec is not None:
            keeper.add_provider(each.spec.make_provider())
    discovery.tokens.attach(keeper)
    return keeper


def _target(
    found: Discovered,
    path: Path | None,
    environment: Mapping[str, str],
    keeper: TokenKeeper | None,
) -> Target:
    findings = [failure(str(each)) for each in found.problems]
    if path and not found.problems:
        findings.append(ok(f"{path.name} read"))
    findings += _variables(found, path, environment)
    if path and found.secret_file and not found.problems:
        findings.append(ok(f"secret file {found.secret_file} read"))
    findings += [warning(each) for each in found.warnings]
    spec = found.spec
    facts = (
        None
        if spec is None
        else read_facts(spec.make_provider(), spec.secrets, found.credential_files)
    )
    return Target(found.name, facts, Report(Step.VARIABLES, tuple(findings)), keeper)


_WITHOUT = {
    "AZURE_AUTHORITY_HOST": "the public cloud is used",
    "OAUTH2_SCOPE": "no scope is requested",
}
"""The effect of an optional variable that is not set, for clients from the environment."""


def _variables(
    found: Discovered, path: Path | None, environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Yield which variables are set, and the effect of those that are not."""
    given = {name for name in found.variables if environment.get(name, "").strip()}
    for name in found.variables:
        if name in given:
            yield ok(f"{name} is set")
        elif path and not found.problems:
            yield note(f"{name} is not set: its default is used")
        elif name in _WITHOUT and not found.problems and f"{name}S" not in given:
            yield note(f"{name} is not set: {_WITHOUT[name]}")
