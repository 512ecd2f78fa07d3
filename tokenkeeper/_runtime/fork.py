"""What a forked child must create again, and what a fork must wait for.

A fork copies the memory of a process, but only one of its threads. Locks that other threads held
stay locked in the child forever, and sockets are shared with the parent. Objects with such parts
register here and replace those parts in the child. No lock is taken *before* a fork: everything
that a child continues to use is published in single assignments, so it is always complete.

Imports are the exception. If a child is forked while another thread imports a module, it waits
forever when it imports the same module, because the thread that holds the module's lock no longer
exists. A late import, during a renewal, goes through :func:`late_import`, and a fork waits for it.
:func:`forks_wait` does the same for any block of code: when another library imports a module, or
when a library such as a metrics client holds its own locks. The operations of SQLite have a gate of
their own, in ``fork_gate.py``.

Python's fork hooks do all this, but programs written in C may fork without them; uWSGI does so by
default. Code that is about to take a lock or to rely on a thread calls :func:`notice_fork`, which
then does what the hooks would have done. Some programs run only one half of the hooks. Each half
works without the other.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import ModuleType
from typing import Protocol

__all__ = ["ForkAware", "forks_wait", "late_import", "notice_fork", "renew", "renew_after_fork"]

_log = logging.getLogger("tokenkeeper.fork")


class ForkAware(Protocol):
    """An object with parts that a forked child must replace."""

    def after_fork_in_child(self) -> None:
        """Replace them. Called in the child, before anything else there uses the object."""
        ...


class _Process:
    """The state of the process that this code runs in."""

    def __init__(self) -> None:
        self.importing = threading.RLock()  # held by forks_wait(), so that forks wait for it
        self.renewed_in = os.getpid()  # the process in which everything was last replaced
        self.renewing_in = 0  # the process in which a thread is replacing everything
        self.turns: dict[int, threading.RLock] = {}  # one for each process, so none is inherited


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_process = _Process()


def renew_after_fork(item: ForkAware) -> None:
    """Have ``item.after_fork_in_child()`` called in every child; *item* is held weakly."""
    _aware.add(item)


def renew(item: ForkAware) -> None:
    """Call ``item.after_fork_in_child()``. An error is logged, because the fork must succeed."""
    try:
        item.after_fork_in_child()
    except Exception:  # noqa: BLE001 - the other objects must be renewed all the same
        _log.exception("%s.after_fork_in_child() failed", type(item).__name__)


def notice_fork() -> None:
    """Do the work of the fork hooks if this process was forked without them. Thread-safe.

    Otherwise it costs one ``os.getpid()``. Call it before you take a lock that other threads of a
    parent may have held, and before you rely on a thread.
    """
    pid = os.getpid()
    if pid == _process.renewed_in:
        return
    # setdefault() is atomic. Other threads of this child wait until everything is replaced. The
    # thread that does so may call this function again, and passes.
    with _process.turns.setdefault(pid, threading.RLock()):
        if pid not in (_process.renewed_in, _process.renewing_in):
            _finish_fork()
            if pid != _process.renewed_in:
                _renew_everything()


def forks_wait() -> AbstractContextManager[object]:
    """Return a context manager. A fork in another thread waits until it exits."""
    notice_fork()
    return _process.importing


def late_import(name: str) -> ModuleType:
    """Import the module *name*. A fork in another thread waits until that is done."""
    with forks_wait():
        loaded = set(sys.modules)
        try:
            return importlib.import_module(name)
        except BaseException:
            # Such as Ctrl-C. Submodules that were loaded by then stay in sys.modules, and another
            # import would not make them attributes of their package.
            package = name.partition(".")[0]
            for each in set(sys.modules) - loaded:
                if each.partition(".")[0] == package:
                    del sys.modules[each]
            raise


def _renew_everything() -> None:
    pid = os.getpid()
    _process.renewing_in = pid
    try:
        # It is replaced, not released: its holder may be a thread that stayed with the parent.
        _process.importing = threading.RLock()
        for item in list(_aware):
            renew(item)
        _process.renewed_in = pid
        _process.turns.clear()
    finally:
        _process.renewing_in = 0  # after an interruption the next thread starts over


def _finish_fork() -> None:
    """Call the function that the program should have called after its fork, if that still helps.

    It runs the hooks of all modules and replaces the interpreter's own locks. Those may be in the
    middle of a switch between threads of the parent, so that the first thread that starts here
    might wait for one of them forever. It can't be called once there are other threads in this
    process, because it treats all threads but the caller as the parent's.
    """
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            return
        import _imp

        ctypes = importlib.import_module("ctypes")
        # The function releases the lock of imports, which a fork by Python takes before. Since 3.13
        # releasing it without holding it is fatal. If it is locked, its holder is gone.
        if _imp.lock_held():
            return
        _imp.acquire_lock()
        with _running_loop_kept():
            ctypes.pythonapi.PyOS_AfterFork_Child()
    except (OSError, ImportError, AttributeError):  # not on Linux, or not CPython
        return


@contextmanager
def _running_loop_kept() -> Iterator[None]:
    """Keep the event loop that runs on this thread. Since 3.12 asyncio's hook forgets it."""
    asyncio = sys.modules.get("asyncio")  # if it was never imported, no loop of it runs
    loop = asyncio._get_running_loop() if asyncio else None  # noqa: SLF001 - asyncio exports it
    yield
    if asyncio and loop is not None:
        asyncio._set_running_loop(loop)  # noqa: SLF001


def _before() -> None:
    _process.importing.acquire()


def _after_in_parent() -> None:
    with suppress(RuntimeError):  # the program runs only this half of the hooks
        _process.importing.release()


if hasattr(os, "register_at_fork"):  # Windows has neither this function nor forks
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_renew_everything
    )
