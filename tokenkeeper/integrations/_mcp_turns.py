"""Turns of several auths for one MCP server, which share a client and a provider of the keeper."""

from __future__ import annotations

import threading
from typing import Literal
from weakref import WeakKeyDictionary

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper.keeper import TokenKeeper

__all__ = ["turn_of"]


Purpose = Literal["client", "sign-in"]


class _Turns:
    """Has locks for each provider of each keeper. Thread-safe and fork-safe."""

    def __init__(self) -> None:
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Forget the locks: threads that stayed with the parent may hold them."""
        self._turns: WeakKeyDictionary[TokenKeeper, dict[tuple[str, Purpose], threading.Lock]] = (
            WeakKeyDictionary()
        )

    def of(self, keeper: TokenKeeper, provider_name: str, purpose: Purpose) -> threading.Lock:
        turns = self._turns.setdefault(keeper, {})
        return turns.setdefault((provider_name, purpose), threading.Lock())


_turns = _Turns()


def turn_of(keeper: TokenKeeper, provider_name: str, purpose: Purpose) -> threading.Lock:
    """Return a lock that is held by the one auth of a keeper's provider whose turn it is.

    :param purpose: ``client`` while a client is chosen or registered, or its provider is added to
        the keeper; ``sign-in`` while a person signs in, at the port that the client registered.
    """
    return _turns.of(keeper, provider_name, purpose)
