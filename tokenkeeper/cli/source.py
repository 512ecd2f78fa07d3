"""Where the commands find their providers, and where they keep tokens between two runs."""

from __future__ import annotations

import difflib
import json
import os
import stat
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tokenkeeper._support.escaping import escaped
from tokenkeeper.cli.kept import KeptProvider
from tokenkeeper.cli.shelf import Shelf
from tokenkeeper.config.configuration import Configuration
from tokenkeeper.config.environment import (
    CONFIG_VARIABLE,
    Client,
    client_from_environment,
    clients_from_environment,
)
from tokenkeeper.config.loading import load_pieces
from tokenkeeper.config.problems import in_lines
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.config.trust import find_trusted, this_process
from tokenkeeper.exceptions import (
    ConfigurationWarning,
    InvalidConfigurationError,
    UnknownProviderError,
)
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from tokenkeeper.config.registration import Piece, Registration

__all__ = ["NOTHING_IS_KEPT", "Described", "Registered", "Source"]

CACHE_VARIABLE = "TOKENKEEPER_CACHE_DIR"

NOTHING_IS_KEPT = (
    "Nothing is kept between two runs: XDG_RUNTIME_DIR names no directory of yours, and neither "
    f"--cache nor {CACHE_VARIABLE} names one."
)


@dataclass(frozen=True)
class Registered:
    """A provider, and all that its token requests depend on.

    :ivar identity: returns a text that is equal for equal requests to one server, as they are
        made now, with the secret in it; never shown.
    """

    provider: BaseOAuth2Provider
    kind: str
    identity: Callable[[], str] = field(repr=False)

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        return self.provider.provider_name


@dataclass(frozen=True)
class Described:
    """What a file or the environment describes.

    :ivar registered: the providers that can be made.
    :ivar problems: what is wrong with the others, by name.
    """

    registered: list[Registered]
    problems: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All names, those of what can be made first."""
        made = [each.provider_name for each in self.registered]
        return list(dict.fromkeys([*made, *self.problems]))

    def mistake(self, names: Iterable[str] | None = None) -> InvalidConfigurationError | None:
        """Return what is wrong with *names*, or with any, as one error."""
        wrong = self.problems if names is None else names
        problems = tuple(each for name in wrong for each in self.problems.get(name, ()))
        if not problems:
            return None
        return InvalidConfigurationError(in_lines(problems), problems=problems)

    def raise_if_wrong(self, names: Iterable[str] | None = None) -> None:
        """Raise what is wrong with *names*, or with any."""
        mistake = self.mistake(names)
        if mistake is not None:
            raise mistake


@dataclass(frozen=True)
class Source:
    """What the options of the command line, or else the environment, say.

    :ivar config: the file that describes the providers.
    :ivar cache: the directory where tokens are kept between two runs.
    """

    config: Path | None = None
    cache: Path | None = None

    @property
    def path(self) -> Path | None:
        """The file that counts; ``None`` if the variables of a client do."""
        named = os.environ.get(CONFIG_VARIABLE)
        return self.config or (Path(named) if named else None)

    def described(self) -> Described:
        """Return what is described.

        :raises InvalidConfigurationError: for what is wrong with all of it.
        """
        path = self.path
        if path is None:
            clients = clients_from_environment(os.environ).values()
            return Described([_from_environment(each) for each in clients])
        problems: dict[str, tuple[str, ...]] = {}

        def read() -> dict[str, Registration]:
            nonlocal problems
            right, problems = _sorted(load_pieces(path, os.environ))
            return right

        # What one provider lacks on this machine is no fault of the others'.
        registered = [_from_file(each) for each in Configuration(read).providers]
        return Described(registered, problems)

    def registrations(self) -> list[Registered]:
        """Return all that is described.

        :raises InvalidConfigurationError: naming all that is wrong.
        """
        described = self.described()
        described.raise_if_wrong()
        return described.registered

    def registration(self, name: str) -> Registered:
        """Return the one called *name*, which is the user's to choose for an environment's.

        :raises UnknownProviderError: if the file describes none of that name.
        :raises InvalidConfigurationError: naming all that is wrong with it.
        """
        return self.chosen([name]).registered[0]

    def chosen(self, names: Iterable[str]) -> Described:
        """Return those called *names*, each once, or all if there are none.

        :raises UnknownProviderError: if the file describes none of a name.
        :raises InvalidConfigurationError: naming all that is wrong with those that are named.
        """
        wanted = list(dict.fromkeys(names))
        if not wanted:
            return self.described()
        if self.path is None:
            return Described(
                [_from_environment(client_from_environment(n, os.environ)) for n in wanted]
            )
        described = self.described()
        there = described.names
        for name in wanted:
            if name not in there:
                nearest = difflib.get_close_matches(name, there, n=1)
                advice = f" Did you mean {nearest[0]!r}?" if nearest else ""
                raise UnknownProviderError(
                    f"{escaped(self.path.name)} describes no provider {name!r}.{advice} "
                    f"It has {', '.join(map(escaped, there)) or 'none'}",
                    provider_name=name,
                )
        described.raise_if_wrong(wanted)
        known = {each.provider_name: each for each in described.registered}
        return Described([known[name] for name in wanted])

    def shelf(self) -> Shelf | None:
        """Return where tokens are kept; ``None`` if nothing is kept.

        :raises InvalidConfigurationError: for a directory that others may look into.
        """
        told = self.cache or os.environ.get(CACHE_VARIABLE)
        if told:
            return Shelf(Path(told))
        # Per user, in memory and gone at log-out; nothing goes to a disk without being told to.
        runtime = _runtime_directory()
        return None if runtime is None else Shelf(runtime / "tokenkeeper")

    def kept(self, registered: Registered, *, force: bool = False) -> KeptProvider:
        """Return a provider whose token outlives this run, as far as anything does."""
        return KeptProvider(registered.provider, self.shelf(), registered.identity, force=force)


def _runtime_directory() -> Path | None:
    """Return the user's own directory in memory, if there is one."""
    directory = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if not directory.is_absolute():
        return None  # to be ignored, says the XDG Base Directory Specification
    try:
        status = directory.stat()
    except OSError:
        return None
    if not stat.S_ISDIR(status.st_mode):
        return None
    problem = _why_not_ours(directory, status)
    if problem is None:
        return directory
    if problem not in _said:
        _said.add(problem)
        warnings.warn(
            f"XDG_RUNTIME_DIR is not used, so nothing is kept between two runs: {problem}",
            ConfigurationWarning,
            stacklevel=2,
        )
    return None


_said: set[str] = set()  # once in each run, however many providers there are


def _why_not_ours(directory: Path, status: os.stat_result) -> str | None:
    """Return why tokens can't be kept in *directory*, if so."""
    process = this_process()
    if process is None:
        return None
    # `sudo -E` and `su` leave the variable of another user, and some hosts share one among all.
    if status.st_uid != process.uid:
        return f"{escaped(directory)} belongs to another user"
    if status.st_mode & 0o022:
        return f"others may write {escaped(directory)}: chmod 700 {escaped(directory)}"
    try:
        find_trusted(directory, process)
    except InvalidConfigurationError as error:
        return f"it {error}"
    except OSError as error:
        return f"{escaped(directory)}: {error.strerror}"
    return None


def _sorted(
    pieces: list[Piece],
) -> tuple[dict[str, Registration], dict[str, tuple[str, ...]]]:
    """Return what can be made, and what is wrong with the others, each by name."""
    problems: dict[str, tuple[str, ...]] = {}
    for each in pieces:
        if each.problems:
            problems[each.name] = problems.get(each.name, ()) + each.problems
    # Of two with one name nobody knows which is meant.
    right = {e.name: e.registration for e in pieces if e.registration and e.name not in problems}
    return right, problems


def _from_file(provider: ReloadableProvider[Registration]) -> Registered:
    kind = provider.registration.block.provider_type
    return Registered(provider, kind, lambda: provider.registration.identity)


def _from_environment(client: Client) -> Registered:
    if not client.provider_name.strip():
        raise InvalidConfigurationError("provider_name must not be blank", field="provider_name")
    # The name is the user's to choose. A rotated secret leaves the client's tokens the client's.
    identity = json.dumps(astuple(replace(client, provider_name="", secret="")))
    return Registered(client.make_provider(), client.kind, lambda: identity)
