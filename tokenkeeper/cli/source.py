"""Where the commands find providers, and where they store tokens between runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tokenkeeper._renewal.registry import check_taken
from tokenkeeper.cli.store import TokenDirectory
from tokenkeeper.cli.stored_provider import StoredTokenProvider
from tokenkeeper.config.configuration import Configuration
from tokenkeeper.config.discovery import Discovery, warn_about
from tokenkeeper.config.problems import Problem, as_error
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.config.spec import ProviderSpec
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError
from tokenkeeper.names import NO_PARAMETERS, TokenName, TokenParameters
from tokenkeeper.stores.runtime_directory import runtime_directory

__all__ = ["NOT_STORED", "Selection", "Source"]

CACHE_VARIABLE = "TOKENKEEPER_CACHE_DIR"

NOT_STORED = (
    "Tokens are not stored between runs, because XDG_RUNTIME_DIR names no directory that you own. "
    f"Set --cache or {CACHE_VARIABLE}."
)


@dataclass(frozen=True)
class Selection:
    """The providers that a command works on.

    :ivar providers: those whose configuration is valid.
    :ivar problems: what is wrong with the others, by name.
    """

    providers: list[ReloadableProvider]
    problems: Mapping[str, list[Problem]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """All names, those of valid providers first."""
        valid = [each.provider_name for each in self.providers]
        return list(dict.fromkeys([*valid, *self.problems]))

    def error(self) -> InvalidConfigurationError | None:
        """Return everything that is wrong as one error, or ``None``."""
        problems = [problem for each in self.problems.values() for problem in each]
        return as_error(problems) if problems else None

    def raise_if_wrong(self) -> None:
        """Raise everything that is wrong as one error.

        :raises InvalidConfigurationError: if anything is.
        """
        error = self.error()
        if error is not None:
            raise error


@dataclass(frozen=True)
class Source:
    """Where the options of the command line, or else the environment, say to look.

    :ivar config: the file that describes the providers.
    :ivar cache: the directory where tokens are stored between two runs.
    """

    config: Path | None = None
    cache: Path | None = None

    def discovery(self) -> Discovery:
        """Return the discovery of the file, or else of the environment's clients."""
        return Discovery(self.config) if self.config else Discovery.from_env()

    def select(self, names: Iterable[str] = ()) -> Selection:
        """Return the providers called *names*, each once, or all if there are no names.

        A client that the environment describes takes any name.

        :raises UnknownProviderError: if the file describes no provider of a name.
        :raises InvalidConfigurationError: if nothing can be read at all.
        """
        discovery = self.discovery()
        names = list(dict.fromkeys(names))
        problems: dict[str, list[Problem]] = {}

        def read() -> dict[str, ProviderSpec]:
            nonlocal problems
            found = discovery.find(names)
            warn_about(found)
            problems = {}
            for each in found:
                if each.problems:
                    problems.setdefault(each.name, []).extend(each.problems)
            # Of two providers with the same name, neither is valid.
            valid = {each.name: each.spec for each in found if each.name not in problems}
            return {name: spec for name in names or valid if (spec := valid.get(name))}

        # A mistake in one provider does not affect the others.
        providers = Configuration(read).providers
        return Selection(providers, problems)

    def select_valid(self, names: Iterable[str] = ()) -> list[ReloadableProvider]:
        """Return what :meth:`select` returns, if all of it is valid.

        :raises UnknownProviderError: if the file describes no provider of a name.
        :raises InvalidConfigurationError: naming everything that is wrong.
        """
        selection = self.select(names)
        selection.raise_if_wrong()
        return selection.providers

    def store(self) -> TokenDirectory | None:
        """Return the directory of stored tokens; ``None`` if tokens are not stored.

        :raises InvalidConfigurationError: if others can read the directory.
        """
        chosen = self.cache or os.environ.get(CACHE_VARIABLE)
        if chosen:
            return TokenDirectory(Path(chosen))
        # In memory, per user and gone at log-out. Tokens go to a disk only if the user asks.
        runtime = _runtime_directory()
        return None if runtime is None else TokenDirectory(runtime / "tokenkeeper")

    def stored(
        self,
        provider: ReloadableProvider,
        *,
        force: bool = False,
        parameters: TokenParameters = NO_PARAMETERS,
    ) -> StoredTokenProvider:
        """Return *provider* with tokens that are stored between runs, if there is a store.

        :param parameters: what to request in place of what its registration says.
        :raises InvalidConfigurationError: if it does not take one of them.
        """
        stored = StoredTokenProvider(
            provider, self.store(), lambda: provider.spec.identity, force=force
        )
        if parameters == NO_PARAMETERS:
            return stored
        check_taken(stored, parameters)
        return stored.variant(TokenName.of(provider.provider_name, parameters), parameters)


def _runtime_directory() -> Path | None:
    """Return the user's own directory in memory, if it exists and only the user can write it."""
    try:
        return runtime_directory()
    except InvalidConfigurationError as error:
        problem = str(error)
    if problem not in _reported:
        _reported.add(problem)
        warnings.warn(
            f"XDG_RUNTIME_DIR is not used, so tokens are not stored between runs: {problem}",
            ConfigurationWarning,
            stacklevel=2,
        )
    return None


_reported: set[str] = set()  # once per run, however many providers there are
