"""What must be renewed in a forked child, and what a fork must wait for.

A fork copies one thread and the memory of all. Locks that other threads held stay locked in the
child for ever, and sockets are shared with the parent. Objects with such parts register here and
make them anew in the child. No lock is taken *before* a fork for their sake: whatever a child
goes on using is published in single assignments, so there is no half-written state to wait for.

Imports are the exception. A child forked while another thread imports a module waits for ever
when it imports the same one, because the module's lock has an owner that no longer exists. An
import that happens late, in a flight, goes through :func:`late_import`, and a fork waits for it.
Where others import in our stead, :func:`forks_wait` does the same for a block of code. So it
does for the moment in which another library, such as a metrics client, holds locks of its own.
"""

from __future__ import annotations

import importlib
import os
import threading
import weakref
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Protocol

__all__ = ["ForkAware", "forks_wait", "late_import", "renew_after_fork"]


class ForkAware(Protocol):
    """An object with parts that a forked child must make anew."""

    def after_fork_in_child(self) -> None:
        """Make them anew. Called in the child's only thread, before it goes on."""
        ...


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_importing = threading.RLock()  # held by forks_wait(), so that no fork falls into it


def renew_after_fork(item: ForkAware) -> None:
    """Have ``item.after_fork_in_child()`` called in every child; *item* is held weakly."""
    _aware.add(item)


def forks_wait() -> AbstractContextManager[object]:
    """Return a context in which a fork in another thread waits until it is left."""
    return _importing


def late_import(name: str) -> ModuleType:
    """Import the module *name* such that a fork in another thread waits until it is done."""
    with forks_wait():
        return importlib.import_module(name)


def _after_in_child() -> None:
    _importing.release()
    for item in list(_aware):
        item.after_fork_in_child()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
    os.register_at_fork(
        before=_importing.acquire,
        after_in_parent=_importing.release,
        after_in_child=_after_in_child,
    )
