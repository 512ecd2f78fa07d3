"""A configuration and its providers, which can be reloaded while they are in use."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper.config.keeper_tokens import KeeperTokens
from tokenkeeper.config.reloadable import ReloadableProvider
from tokenkeeper.config.spec import ProviderSpec
from tokenkeeper.exceptions import ConfigurationWarning, InvalidConfigurationError

if TYPE_CHECKING:
    from tokenkeeper.stores.options import StoreOptions
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["Configuration"]

_log = logging.getLogger("tokenkeeper.config")


def _no_store() -> None:
    """Return no options: there is no store."""


class Configuration:
    """The providers of a configuration, and their current specs. Thread-safe.

    :param read: returns the specs by provider name, or raises ``InvalidConfigurationError``.
    :param read_store: returns the options of the store, or ``None``. It is called after *read*. By
        default, no store is used.
    :param tokens: where providers get the tokens of others; by default they need none.
    :ivar tokens: where providers get the tokens of others: attach the keeper that has them.
    :ivar turn: the lock to hold while a keeper is updated, so that reloads take turns.
    :raises InvalidConfigurationError: naming everything that is wrong.
    """

    turn: threading.RLock
    tokens: KeeperTokens

    def __init__(
        self,
        read: Callable[[], Mapping[str, ProviderSpec]],
        read_store: Callable[[], StoreOptions | None] = _no_store,
        tokens: KeeperTokens | None = None,
    ) -> None:
        self.tokens = tokens or KeeperTokens()
        self._read = read
        self._read_store = read_store
        self._providers: dict[str, ReloadableProvider] = {}
        self.after_fork_in_child()
        renew_after_fork(self)
        with self._lock:
            self._read_providers()
            self._store = self._latest_store = read_store()

    def after_fork_in_child(self) -> None:
        """Replace the locks, which another thread of the parent may hold."""
        # Guards reading and switching, so that what was read last also takes effect last.
        self._lock = threading.Lock()
        self.turn = threading.RLock()

    @property
    def providers(self) -> list[ReloadableProvider]:
        """The providers that are currently configured."""
        return list(self._providers.values())

    @property
    def store(self) -> StoreSettings | None:
        """The store of the configuration when this was made, opened; ``None`` if it has none.

        Opens it again for each call, because the keeper that gets it also closes it.

        :raises InvalidConfigurationError: if its URL is not valid.
        """
        if self._store is None:
            return None
        from tokenkeeper.stores.settings import opened_by

        return opened_by(self._store)

    def reload(self, check: Callable[[Iterable[str]], None] | None = None) -> list[str]:
        """Read again, switch the providers to changed specs, and return the names of these.

        The store stays: a change of it is logged as a warning, and takes effect after a restart.

        :param check: is called with all names before, and raises if they can't be used.
        :raises InvalidConfigurationError: if anything is wrong. Then nothing changes.
        """
        with self._lock:
            changed = self._read_providers(check)
            store = self._read_store()
            if store not in (self._store, self._latest_store):
                _log.warning(
                    "the store of the configuration changed. Restart the process to use it"
                )
            self._latest_store = store
        return changed

    def _read_providers(self, check: Callable[[Iterable[str]], None] | None = None) -> list[str]:
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
