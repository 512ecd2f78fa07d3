"""A configuration that providers come from, and that can be read again while they work."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenkeeper.config.document import Document, read_document
from tokenkeeper.config.registration import Registration, read_registrations
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.exceptions import InvalidConfigurationError
from tokenkeeper.fork import renew_after_fork

__all__ = ["Changes", "Configuration"]

_log = logging.getLogger("tokenkeeper.config")


@dataclass(frozen=True)
class Changes:
    """What reading a configuration again changed."""

    added: tuple[ReloadableProvider, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]


class Configuration:
    """Reads blocks called ``oauth2`` from a YAML file or a mapping. Thread-safe.

    :param source: a file's path, or what would be in it.
    :param environment: where ``${NAME}`` is looked up, at each reading.
    :raises InvalidConfigurationError: naming everything that is wrong, each with file, line, key
        and what was expected.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self._source: Path | Mapping[str, Any]
        self._source = source if isinstance(source, Mapping) else Path(source).absolute()
        self._directory = Path.cwd()
        self._environment = environment
        self._providers: dict[str, ReloadableProvider] = {}
        self.after_fork_in_child()
        renew_after_fork(self)
        self.reload()

    def after_fork_in_child(self) -> None:
        """Make a lock of the child's own."""
        self._lock = threading.Lock()  # guards _providers, and lets one thread read at a time

    @property
    def providers(self) -> list[ReloadableProvider]:
        """What is configured now."""
        return list(self._providers.values())

    def reload(self) -> Changes:
        """Read the source again and have the providers take over what changed.

        :raises InvalidConfigurationError: if something is wrong; then nothing is taken over.
        """
        with self._lock:
            now = self._read()
            before = self._providers
            kept = {name: before[name] for name in now if name in before}
            added = {
                name: ReloadableProvider(registration, self._look_again)
                for name, registration in now.items()
                if name not in before
            }
            changed = [name for name, provider in kept.items() if provider.take_over(now[name])]
            self._providers = {name: {**kept, **added}[name] for name in now}
        removed = tuple(name for name in before if name not in now)
        return Changes(tuple(added.values()), tuple(changed), removed)

    def _look_again(self, provider_name: str) -> Registration | None:
        """Return one provider's registration as the source describes it now."""
        try:
            with self._lock:
                return self._read().get(provider_name)
        except InvalidConfigurationError as problem:
            _log.warning("the configuration was not read again: %s", problem)
            return None

    def _read(self) -> dict[str, Registration]:
        source = self._source
        is_file = not isinstance(source, Mapping)
        document = read_document(source) if is_file else Document(source, self._directory)
        return read_registrations(document, self._environment)
