"""Where the commands find providers, and where they store tokens between runs."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tokenkeeper.config.configuration import Configuration
from tokenkeeper.config.discovery import Discovery, warn_about
from tokenkeeper.config.keeper_tokens import KeeperTokens
from tokenkeeper.config.links import needed_by
from tokenkeeper.config.problems import Problem, as_error
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.config.spec import ProviderSpec
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError
from tokenkeeper.stores.private_directory import PrivateDirectory
from tokenkeeper.stores.runtime_directory import runtime_directory

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["NOT_STORED", "Selection", "Source", "in_memory", "required_store"]

CACHE_VARIABLE = "TOKENKEEPER_CACHE_DIR"

CACHE_FILE = "tokens.db"
"""The store in the directory of --cache."""

AUTO_FILE = "store.db"
"""The store ``auto``, which services use as well."""

NOT_STORED = (
    "Tokens are not stored between runs, because no store is configured, and XDG_RUNTIME_DIR names "
    f"no directory that you own. Set --store, --cache or {CACHE_VARIABLE}."
)


@dataclass(frozen=True)
class Selection:
    """The providers that a command works on.

    :ivar providers: those whose configuration is valid.
    :ivar problems: what is wrong with the others, by name.
    :ivar tokens: where providers get the tokens of others.
    :ivar helpers: the providers whose tokens those need, and that the command does not work on.
    """

    providers: list[ReloadableProvider]
    problems: Mapping[str, list[Problem]] = field(default_factory=dict)
    tokens: KeeperTokens = field(default_factory=KeeperTokens)
    helpers: list[ReloadableProvider] = field(default_factory=list)

    def add_to(self, keeper: TokenKeeper) -> TokenKeeper:
        """Register the providers with *keeper*, and those whose tokens they need; return it."""
        self.tokens.attach(keeper)
        for provider in (*self.providers, *self.helpers):
            keeper.add_provider(provider)
        return keeper

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
    :ivar store_url: the URL of a store. It may contain a password.
    :ivar key_file: the file with the keys of that store.
    """

    config: Path | None = None
    cache: Path | None = None
    store_url: str | None = field(default=None, repr=False)
    key_file: Path | None = None

    def discovery(self) -> Discovery:
        """Return the discovery of the file, or else of the environment's clients."""
        return self._discovery

    @cached_property
    def _discovery(self) -> Discovery:
        # One for all, so that the file is read once, and all output is consistent.
        return Discovery(self.config) if self.config else Discovery.from_env()

    def select(self, names: Iterable[str] = ()) -> Selection:
        """Return the providers called *names*, each once, or all if there are no names.

        A client that the environment describes takes any name.

        :raises UnknownProviderError: if the file describes no provider of a name.
        :raises InvalidConfigurationError: if nothing can be read at all.
        """
        discovery = self.discovery()
        names = list(dict.fromkeys(names))
        helpers: list[str] = []
        if names and discovery.path is not None:
            needs = {each.name: each.needs for each in discovery.find()}
            helpers = needed_by(names, needs)
        problems: dict[str, list[Problem]] = {}

        def read() -> dict[str, ProviderSpec]:
            nonlocal problems
            found = discovery.find([*names, *helpers])
            warn_about(found)
            problems = {}
            for each in found:
                if each.problems:
                    problems.setdefault(each.name, []).extend(each.problems)
            # Of two providers with the same name, neither is valid.
            valid = {each.name: each.spec for each in found if each.name not in problems}
            wanted = [*names, *helpers] or valid
            return {name: spec for name in wanted if (spec := valid.get(name))}

        # A mistake in one provider does not affect the others.
        found = Configuration(read).providers
        return Selection(
            [each for each in found if each.provider_name not in helpers],
            problems,
            discovery.tokens,
            [each for each in found if each.provider_name in helpers],
        )

    def select_valid(self, names: Iterable[str] = ()) -> Selection:
        """Return what :meth:`select` returns, if all of it is valid.

        :raises UnknownProviderError: if the file describes no provider of a name.
        :raises InvalidConfigurationError: naming everything that is wrong.
        """
        selection = self.select(names)
        selection.raise_if_wrong()
        return selection

    def store(self) -> StoreSettings | None:
        """Return the store of the tokens; ``None`` if tokens are not stored.

        That is the one of the command line; else that of ``TOKENKEEPER_CACHE_DIR``; else that of
        the configuration; else the one in the user's runtime directory.

        :raises InvalidConfigurationError: if it is not valid, or others can read its directory.
        """
        directory = os.environ.get(CACHE_VARIABLE)
        if directory and self.store_url is None and self.cache is None:
            return _in_directory(Path(directory), CACHE_FILE)
        found = self.configured_store()
        if found is not None:
            return found
        # In memory, per user and gone at log-out. Tokens go to a disk only if the user asks.
        runtime = _runtime_directory()
        return None if runtime is None else _in_directory(runtime / "tokenkeeper", AUTO_FILE)

    def configured_store(self) -> StoreSettings | None:
        """Return the store of the command line, or else of the configuration, if there is one.

        :raises InvalidConfigurationError: as :meth:`store` does.
        """
        if self.store_url is not None:
            if self.cache is not None:
                raise click.UsageError("--store and --cache name two stores. Leave out one of them")
            return _opened(self.store_url, self.key_file)
        if self.key_file is not None:
            raise click.UsageError("--key-file needs --store")
        if self.cache is not None:
            return _in_directory(self.cache, CACHE_FILE)
        found = self.discovery().find_store(reread=False)
        if found is None:
            return None
        warn_about([found])
        if found.options is None or found.problems:
            raise as_error(found.problems)
        from tokenkeeper.stores.settings import opened_by

        return opened_by(found.options)


def required_store(source: Source) -> StoreSettings:
    """Return the store of *source*.

    :raises InvalidConfigurationError: if it has none, or the store is not valid.
    """
    found = source.store()
    if found is None:
        raise InvalidConfigurationError(
            "no store is configured. Set --store, TOKENKEEPER_STORE, or store: in the "
            "configuration file",
            field="store",
        )
    return found


def in_memory() -> StoreSettings:
    """Return a store that is gone when the command ends."""
    from tokenkeeper.stores.sealed import Plain
    from tokenkeeper.stores.settings import StoreSettings
    from tokenkeeper.testing.stores import MemoryTokenStore

    return StoreSettings(store=MemoryTokenStore(), sealer=Plain(), label="memory")


def _opened(url: str, key_file: Path | None) -> StoreSettings:
    from tokenkeeper.stores.settings import opened

    return opened({"url": url, **({"key_file": str(key_file)} if key_file else {})})


def _in_directory(directory: Path, name: str) -> StoreSettings:
    """Return the store in the file *name* of a directory that only this user can use.

    :raises InvalidConfigurationError: if others can use it, or it can't be created.
    """
    from tokenkeeper.stores.sealed import Plain
    from tokenkeeper.stores.settings import StoreSettings
    from tokenkeeper.stores.sqlite import SQLiteTokenStore

    PrivateDirectory(directory)  # refused here: a keeper would go on without its store
    store = SQLiteTokenStore(directory / name)
    return StoreSettings(store=store, sealer=Plain(), label=store.label)


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
