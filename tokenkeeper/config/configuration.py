"""A configuration that providers come from, and that can be read again while they work."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.config.spec import ProviderSpec
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError

__all__ = ["Configuration"]

_log = logging.getLogger("tokenkeeper.config")


class Configuration:
    """Providers, and what they are made from as that is now. Thread-safe.

    :param read: returns the specs by provider name, or raises what is wrong with them.
    :ivar turn: to be held by who brings a keeper in line with it, one at a time.
    :raises InvalidConfigurationError: naming everything that is wrong.
    """

    turn: threading.RLock

    def __init__(self, read: Callable[[], Mapping[str, ProviderSpec]]) -> None:
        self._read = read
        self._providers: dict[str, ReloadableProvider] = {}
        self.after_fork_in_child()
        renew_after_fork(self)
        self.reload()

    def after_fork_in_child(self) -> None:
        """Make locks of the child's own."""
        self._lock = threading.Lock()  # what was read last is what is taken over last
        self.turn = threading.RLock()

    @property
    def providers(self) -> list[ReloadableProvider]:
        """What is configured now."""
        return list(self._providers.values())

    def reload(self, check: Callable[[Iterable[str]], None] | None = None) -> list[str]:
        """Read again, have the providers take over what changed, and return their names.

        :param check: is given all names before, and raises if that can't be.
        :raises InvalidConfigurationError: if something is wrong; then nothing is taken over.
        """
        with self._lock:
            now = self._read()
            if check is not None:
                check(now)
            before = self._providers
            changed = [n for n, each in before.items() if n in now and each.take_over(now[n])]
            self._providers = {
                name: before.get(name) or ReloadableProvider(spec, self._look_again)
                for name, spec in now.items()
            }
        return changed

    def _look_again(self, provider: ReloadableProvider) -> None:
        """Have one provider take over its current spec, if that can be told."""
        handled_before = sys.exception()
        try:
            with self._lock:
                now = self._read().get(provider.provider_name)
                if now is not None:
                    provider.take_over(now)
        except (InvalidConfigurationError, ConfigurationWarning) as problem:
            lines = getattr(problem, "problems", None) or [problem]
            _log.warning("the configuration was not read again: %s", "; ".join(map(str, lines)))
        except Exception as problem:  # noqa: BLE001 - the caller is to see why the server refused
            if struck := interruption_in(problem, handled_before):
                raise struck  # noqa: B904 - as it was thrown
            what = type(problem).__name__  # whose text may hold anything
            _log.warning("the configuration was not read again: %s", what)
