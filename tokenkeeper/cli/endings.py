"""Signal handling: a signal ends the command at once and silently, whatever it is doing.

There is one exception: a request with a refresh token that works once is waited for, until it is
answered and stored. A second signal ends that wait.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["exit_on_signals", "own_signal_handlers", "restored_at_end"]

_SHOW_CURSOR = b"\x1b[?25h"

_PATIENCE_SECONDS = 0.5  # for a terminal that does not accept output

_ending = threading.RLock()  # held by the thread that ends the process
_signals: list[int] = []  # that came so far
_changed: list[Callable[[], object]] = []  # each restores something that outlives the process


def exit_on_signals() -> None:
    """Make Ctrl-C and similar signals end the process at once, without a message.

    An exception would not be enough. It is raised in whatever code is running, including the code
    that shuts the interpreter down, and a callback of a C extension may replace or swallow it. All
    parts of the command have to survive SIGKILL anyway, so no cleanup is lost.

    A handler in Python is not enough either. The main thread runs it between two instructions, so
    not while it waits for a lock, a name lookup or a handshake, and a signal just before such a
    wait does not interrupt it. So the handler in C also writes to a pipe, which a separate thread
    reads. Whichever runs first ends the process.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # Shells make background jobs ignore Ctrl-C, and nohup makes them ignore SIGHUP.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    if os.name == "posix":
        with suppress(RuntimeError, OSError):  # the handlers remain
            _watch_for_signals()


def _watch_for_signals() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(
        target=_read_signals, args=(reader,), name="tokenkeeper-signals", daemon=True
    ).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def _read_signals(reader: int) -> None:
    """End the process as soon as a signal that should do so arrives in the pipe."""
    while numbers := os.read(reader, 64):
        for number in numbers:
            if signal.getsignal(number) is _handle:
                _end(number)


@contextmanager
def own_signal_handlers() -> Iterator[None]:
    """Let the main thread's own handlers receive signals for a while, in loops that poll."""
    before = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)


@contextmanager
def restored_at_end(restore: Callable[[], object]) -> Iterator[None]:
    """Call *restore* after the ``with`` block, also if a signal ends the process within it.

    :param restore: restores what outlives the process, such as the settings of a terminal. It may
        be called twice, and on another thread.
    """
    _changed.append(restore)
    try:
        yield
    finally:
        restore()
        _changed.remove(restore)


def _handle(number: int, _: FrameType | None) -> None:
    """End the process; without a further wait if this is the second signal."""
    _signals.append(number)
    if len(_signals) > 1:
        os._exit(128 + number)
    _end(number)


def _end(number: int) -> None:
    """End the process, and leave the terminal as it was, with its cursor."""
    for restore in _changed.copy():  # another thread may leave its block
        with suppress(Exception):
            restore()
    one_time = sys.modules.get("tokenkeeper._renewal.one_time")
    if one_time is not None:  # it was imported if there is a store
        one_time.finish_all()
    if not _ending.acquire(timeout=1):  # the other thread is already ending the process
        os._exit(128 + number)
    with suppress(OSError):  # the terminal may be gone
        terminals = [each for each in (1, 2) if os.isatty(each)]
        # A terminal does not accept output while another thread writes a frame to it, which ends
        # soon, nor after Ctrl-S, which may not.
        writable = select.select([], terminals[:1], [], _PATIENCE_SECONDS)[1]
        can_hide = os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
        for terminal in writable:
            os.write(terminal, (_SHOW_CURSOR if can_hide else b"") + b"\n")
    os._exit(128 + number)  # even as process 1, where the default action would not end it
