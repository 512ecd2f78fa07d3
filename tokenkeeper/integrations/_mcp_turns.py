"""One connection at a time is made for the tokens of one provider of a keeper."""

from __future__ import annotations

import threading
from weakref import WeakKeyDictionary

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.keeper import TokenKeeper

__all__ = ["turn_of"]


class _Turns:
    """Has a lock for each provider of each keeper. Thread-safe and fork-safe."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Forget the locks: threads that stayed with the parent may hold them."""
        self._turns: WeakKeyDictionary[TokenKeeper, dict[str, threading.Lock]] = WeakKeyDictionary()

    def of(self, keeper: TokenKeeper, provider_name: str) -> threading.Lock:
        turns = self._turns.setdefault(keeper, {})
        return turns.setdefault(provider_name, threading.Lock())


_turns = _Turns()


def turn_of(keeper: TokenKeeper, provider_name: str) -> threading.Lock:
    """Return a lock to hold while a client of the provider is chosen and a person signs in.

    Several auths for one MCP server, such as those of two accounts, share its registered client,
    the port that was registered, and the provider in the keeper.
    """
    return _turns.of(keeper, provider_name)
