"""Finds the providers that a YAML file, a mapping or the environment describes.

The keeper, the command line and the doctor all use it. PyYAML and pydantic are loaded only for a
file or a mapping.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenkeeper._support.escaping import escaped
from tokenkeeper.config.environment import discover_in_environment
from tokenkeeper.config.files import located, warn
from tokenkeeper.config.keeper_tokens import KeeperTokens
from tokenkeeper.config.problems import as_error
from tokenkeeper.config.spec import Discovered, ProviderSpec
from tokenkeeper.config.store import DiscoveredStore, store_from_environment, store_in
from tokenkeeper.exceptions import InvalidConfigurationError, UnknownProviderError

if TYPE_CHECKING:
    from tokenkeeper.config.document import Document
    from tokenkeeper.stores.options import StoreOptions

__all__ = ["CONFIG_VARIABLE", "Discovery", "warn_about"]

CONFIG_VARIABLE = "TOKENKEEPER_CONFIG"
"""The variable that names a file. If it is set, the variables of clients are ignored."""


class Discovery:
    """Finds the providers that *source* describes, again at each call. Not thread-safe.

    Relative paths begin at the working directory at the time when this is made.

    :param source: the path of a YAML file, a mapping with the content of one, or ``None`` for the
        clients that ``AZURE_*`` and ``OAUTH2_*`` variables describe.
    :param environment: the variables; ``os.environ`` by default.
    :ivar tokens: where providers get the tokens of others: attach the keeper that has them.
    """

    tokens: KeeperTokens

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any] | None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._source = source
        self._environment = environment
        self._directory = _working_directory()
        self._last: Document | None = None
        self.tokens = KeeperTokens()

    @classmethod
    def from_config(cls, source: str | os.PathLike[str] | Mapping[str, Any]) -> Discovery:
        """Return the discovery of what the file or mapping *source* describes.

        :raises InvalidConfigurationError: if *source* is neither a path nor a mapping.
        """
        is_path = isinstance(source, (str, os.PathLike)) and os.fspath(source)
        if not is_path and not isinstance(source, Mapping):
            given = repr(source) if source in ("", None) else type(source).__name__
            raise InvalidConfigurationError(
                f"a configuration must be the path of a file or a mapping, not {given}"
            )
        return cls(source)

    @classmethod
    def from_env(cls, environment: Mapping[str, str] = os.environ) -> Discovery:
        """Return the discovery of the file that *environment* names, or else of its clients."""
        return cls(environment.get(CONFIG_VARIABLE) or None, environment)

    @property
    def path(self) -> Path | None:
        """The file; ``None`` for a mapping or the environment."""
        return Path(self._source) if isinstance(self._source, (str, os.PathLike)) else None

    def find(self, names: Iterable[str] = ()) -> list[Discovered]:
        """Return each provider that is described, valid or not, without emitting warnings.

        :param names: the providers to return; all by default. A client that the environment
            describes takes any name.
        :raises UnknownProviderError: if a file or mapping describes no provider of a name.
        :raises InvalidConfigurationError: if a file can't be read, or describes nothing, or the
            extra to read it is not installed.
        """
        wanted = list(dict.fromkeys(names))
        if self._source is None:
            return discover_in_environment(self._environment, self._directory, wanted)
        found = self._read_blocks()
        return self._named(found, wanted) if wanted else found

    def find_store(self, *, reread: bool = True) -> DiscoveredStore | None:
        """Return the store that is described, valid or not, without emitting warnings.

        That is the one under ``store`` in the file or mapping, or else the one that
        ``TOKENKEEPER_STORE`` names; ``None`` if neither is set.

        :param reread: whether to read a file again that was read before; ``True`` by default.
        :raises InvalidConfigurationError: if a file can't be read, or the extra to read it is not
            installed.
        """
        if self._source is not None:
            document = self._last if self._last is not None and not reread else self._document()
            found = store_in(document, self._environment)
            if found is not None:
                return found
        return store_from_environment(self._environment, self._directory)

    def store_options(self) -> StoreOptions | None:
        """Return the options of the store that is described; ``None`` if there is none.

        :raises InvalidConfigurationError: naming everything that is wrong with it.
        """
        found = self.find_store()
        if found is None:
            return None
        if found.problems:
            raise as_error(found.problems)
        return found.options

    def specs(self) -> dict[str, ProviderSpec]:
        """Return the specification of each provider by name, and emit all warnings.

        :raises InvalidConfigurationError: naming everything that is wrong, with the store as well.
        """
        found = self.find()
        store = self.find_store()
        everything: list[Discovered | DiscoveredStore] = [*found, *([store] if store else [])]
        try:
            warn_about(everything)
        finally:  # mistakes are more important, in case warnings are errors
            problems = [problem for each in everything for problem in each.problems]
            if problems:
                raise as_error(problems)
        return {each.spec.provider_name: each.spec for each in found if each.spec}

    def _read_blocks(self) -> list[Discovered]:
        with _advice_on_missing_extra():
            from tokenkeeper.config.reading import read_blocks
        return read_blocks(self._document(), self._environment, self.tokens)

    def _document(self) -> Document:
        with _advice_on_missing_extra():
            from tokenkeeper.config.document import Document, read_document
        if isinstance(self._source, Mapping):
            return Document(self._source, self._directory)
        path = located(self._directory, os.fspath(self._source or ""))
        self._last = read_document(path, self._last)
        return self._last

    def _named(self, found: list[Discovered], names: list[str]) -> list[Discovered]:
        """Return those of *found* whose name is in *names*, in the order of the file."""
        known = list(dict.fromkeys(each.name for each in found))
        for name in names:
            if name not in known:
                nearest = difflib.get_close_matches(name, known, n=1)
                advice = f" Did you mean {nearest[0]!r}?" if nearest else ""
                raise UnknownProviderError(
                    f"{escaped(self.path.name if self.path else 'the configuration')} describes "
                    f"no provider {name!r}.{advice} It has "
                    f"{', '.join(map(escaped, known)) or 'none'}",
                    provider_name=name,
                )
        return [each for each in found if each.name in names]


def _working_directory() -> Path:
    with suppress(OSError):  # it was removed, and absolute paths work all the same
        return Path.cwd()
    return Path()


def warn_about(found: Iterable[Discovered | DiscoveredStore]) -> None:
    """Emit the warnings of *found*, as ``ConfigurationWarning``."""
    for each in found:
        for text in each.warnings:
            warn(text)


@contextmanager
def _advice_on_missing_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as missing:
        if missing.name not in ("yaml", "pydantic"):
            raise
        raise InvalidConfigurationError(
            "a configuration needs an extra that is not installed: "
            'pip install "tokenkeeper-oauth2[yaml]"'
        ) from None
