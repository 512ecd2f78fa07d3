"""The keeper of the process: one set of tokens for code that shares nothing else."""

from __future__ import annotations

import threading

from tokenkeeper._runtime.fork import notice_fork, renew_after_fork
from tokenkeeper.keeper import TokenKeeper, checked_keeper

__all__ = ["get_default_keeper", "set_default_keeper"]

_default: TokenKeeper | None = None
_default_lock = threading.Lock()  # guards _default


def get_default_keeper() -> TokenKeeper:
    """Return the keeper of the process; made at first use, and anew if it was closed.

    :func:`tokenkeeper.get_default_manager` is the async front of the same one. Thread-safe.
    """
    global _default
    notice_fork()
    with _default_lock:
        if _default is None or _default.is_closed:
            _default = TokenKeeper()
        return _default


def set_default_keeper(keeper: TokenKeeper | None) -> TokenKeeper | None:
    """Make *keeper* the keeper of the process, and return the one before, if there was one.

    Call it where the process starts, with a keeper that a configuration describes or that has
    hooks. Who was given the one before goes on with it, and it stays open. ``None`` lets the next
    :func:`get_default_keeper` make a new one. Thread-safe.

    :raises InvalidConfigurationError: if *keeper* is not a keeper.
    """
    global _default
    if keeper is not None:
        checked_keeper(keeper)
    notice_fork()
    with _default_lock:
        before, _default = _default, keeper
        return before


class _AfterFork:
    """Gives a child a lock of its own; the default keeper itself is kept."""

    def after_fork_in_child(self) -> None:
        global _default_lock
        _default_lock = threading.Lock()


_after_fork = _AfterFork()
renew_after_fork(_after_fork)
