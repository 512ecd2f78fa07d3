"""The process-wide default keeper: one set of tokens for code that shares nothing else."""

from __future__ import annotations

import threading

from tokenkeeper._runtime.fork import notice_fork, renew_after_fork
from tokenkeeper.keeper import TokenKeeper, checked_keeper

__all__ = ["get_default_keeper", "is_default_keeper", "set_default_keeper"]

_default: TokenKeeper | None = None
_default_lock = threading.Lock()  # guards _default


def get_default_keeper() -> TokenKeeper:
    """Return the process-wide default keeper, created at first use and again once it was closed.

    :func:`tokenkeeper.get_default_manager` is the async front of the same keeper. Thread-safe.
    """
    global _default
    current = _default
    if current is not None and not current.is_closed:
        return current  # without the lock, which guards its creation
    notice_fork()
    with _default_lock:
        if _default is None or _default.is_closed:
            _default = TokenKeeper()
        return _default


def is_default_keeper(keeper: TokenKeeper) -> bool:
    """Return whether *keeper* is the process-wide default now, closed or not."""
    return keeper is _default


def set_default_keeper(keeper: TokenKeeper | None) -> TokenKeeper | None:
    """Make *keeper* the process-wide default; return the previous one, or ``None``.

    Call it where the process starts, with a keeper from a configuration or with hooks. The previous
    keeper stays open, and code that holds it goes on with it. With ``None`` the next
    :func:`get_default_keeper` creates a new one. Thread-safe.

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
    """Gives a forked child its own lock; the default keeper itself is kept."""

    def after_fork_in_child(self) -> None:
        global _default_lock
        _default_lock = threading.Lock()


_after_fork = _AfterFork()
renew_after_fork(_after_fork)
