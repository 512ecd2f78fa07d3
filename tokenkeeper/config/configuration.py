"""A configuration and its providers, which can be reloaded while they are in use."""

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
    """The providers of a configuration, and their current specs. Thread-safe.

    :param read: returns the specs by provider name, or raises ``InvalidConfigurationError``.
    :ivar turn: the lock to hold while a keeper is updated, so that reloads take turns.
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
        """Replace the locks, which another thread of the parent may hold."""
        # Guards reading and switching, so that what was read last also takes effect last.
        self._lock = threading.Lock()
        self.turn = threading.RLock()

    @property
    def providers(self) -> list[ReloadableProvider]:
        """The providers that are currently configured."""
        return list(self._providers.values())

    def reload(self, check: Callable[[Iterable[str]], None] | None = None) -> list[str]:
        """Read again, switch the providers to changed specs, and return the names of these.

        :param check: is called with all names before, and raises if they can't be used.
        :raises InvalidConfigurationError: if anything is wrong. Then nothing changes.
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
        """Read again and switch *provider* to its current spec. Mistakes are only logged."""
        handled_before = sys.exception()
        try:
            with self._lock:
                now = self._read().get(provider.provider_name)
                if now is not None:
                    provider.take_over(now)
        except (InvalidConfigurationError, ConfigurationWarning) as problem:
            lines = getattr(problem, "problems", None) or [problem]
            _log.warning(
                "the configuration could not be read again: %s", "; ".join(map(str, lines))
            )
        except Exception as problem:  # noqa: BLE001 - the caller needs the server's error
            if struck := interruption_in(problem, handled_before):
                raise struck  # noqa: B904 - unchanged
            what = type(problem).__name__  # whose text may contain a secret
            _log.warning("the configuration could not be read again: %s", what)
