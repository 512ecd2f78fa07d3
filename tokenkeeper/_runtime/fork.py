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

Python's fork hooks do all this, and programs written in C may fork without them: uWSGI does by
default. Code that is about to take a lock or to rely on a thread calls :func:`notice_fork`, which
does then what the hooks would have done. Some programs run only half of the hooks; each half
works without the other.
"""

from __future__ import annotations

import importlib
import logging
import os
import threading
import weakref
from contextlib import AbstractContextManager, suppress
from types import ModuleType
from typing import Protocol

__all__ = ["ForkAware", "forks_wait", "late_import", "notice_fork", "renew", "renew_after_fork"]

_log = logging.getLogger("tokenkeeper.fork")


class ForkAware(Protocol):
    """An object with parts that a forked child must make anew."""

    def after_fork_in_child(self) -> None:
        """Make them anew. Called in the child, before anything else there uses the object."""
        ...


class _Process:
    """What is known of the process that this code runs in."""

    def __init__(self) -> None:
        self.importing = threading.RLock()  # held by forks_wait(), so that no fork falls into it
        self.renewed_in = os.getpid()  # the process that everything here was made anew for
        self.renewing_in = 0  # the process that a thread is doing so for
        self.turns: dict[int, threading.RLock] = {}  # one for each process, so none is inherited


_aware: weakref.WeakSet[ForkAware] = weakref.WeakSet()
_process = _Process()


def renew_after_fork(item: ForkAware) -> None:
    """Have ``item.after_fork_in_child()`` called in every child; *item* is held weakly."""
    _aware.add(item)


def renew(item: ForkAware) -> None:
    """Call ``item.after_fork_in_child()``. An error is logged: the fork must go on."""
    try:
        item.after_fork_in_child()
    except Exception:  # noqa: BLE001 - the other objects must be renewed all the same
        _log.exception("%s.after_fork_in_child() failed", type(item).__name__)


def notice_fork() -> None:
    """Renew everything if this process was forked without Python's fork hooks. Thread-safe.

    Otherwise this costs one ``os.getpid()``. Call it before taking a lock that other threads of
    a parent may have held, and before relying on a thread.
    """
    pid = os.getpid()
    if pid == _process.renewed_in:
        return
    # setdefault() is atomic. Other threads of this child wait until everything is renewed; the
    # thread that renews may come by here again, and goes on.
    with _process.turns.setdefault(pid, threading.RLock()):
        if pid not in (_process.renewed_in, _process.renewing_in):
            _finish_fork()
            if pid != _process.renewed_in:
                _renew_everything()


def forks_wait() -> AbstractContextManager[object]:
    """Return a context in which a fork in another thread waits until it is left."""
    notice_fork()
    return _process.importing


def late_import(name: str) -> ModuleType:
    """Import the module *name* such that a fork in another thread waits until it is done."""
    with forks_wait():
        return importlib.import_module(name)


def _renew_everything() -> None:
    pid = os.getpid()
    _process.renewing_in = pid
    try:
        # Not released but replaced: its holder may be a thread that stayed with the parent.
        _process.importing = threading.RLock()
        for item in list(_aware):
            renew(item)
        _process.renewed_in = pid
        _process.turns.clear()
    finally:
        _process.renewing_in = 0  # interrupted halfway, the next thread begins again


def _finish_fork() -> None:
    """Call what the program should have called after its fork, if that can still be done.

    It runs the hooks of all modules, and makes the interpreter's own locks anew. Those may be in
    the middle of a switch between threads of the parent: the first thread that is started here
    might wait for one of these. But it takes all threads but the caller for the parent's.
    """
    try:
        if len(os.listdir("/proc/self/task")) > 1:
            return
        ctypes = importlib.import_module("ctypes")
        ctypes.pythonapi.PyOS_AfterFork_Child()
    except (OSError, ImportError, AttributeError):  # not on Linux, or not CPython
        return


def _before() -> None:
    _process.importing.acquire()


def _after_in_parent() -> None:
    with suppress(RuntimeError):  # a program that runs this half of the hooks alone
        _process.importing.release()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork either
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_renew_everything
    )
