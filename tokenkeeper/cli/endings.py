"""How signals end the command: at once, wherever its main thread is, and without a word."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

__all__ = ["end_at_once_by_signals", "signals_of_your_own"]

_SHOWN_CURSOR = b"\x1b[?25h"

_ending = threading.RLock()  # held by the thread that ends the process


def end_at_once_by_signals() -> None:
    """Let Ctrl-C and its like end the process at once, and without a word.

    An exception would not do: it is raised in whatever code runs at that moment, also in the code
    that ends the interpreter, and a callback of a C extension replaces or swallows it. What a kill
    leaves half done, every part of the command copes with anyway, because nothing can catch
    SIGKILL.

    A handler in Python is not enough either: the main thread runs it between two instructions,
    and so not while it waits for a lock, a name or a handshake. A signal that arrives just before
    such a wait begins does not even interrupt it. So the handler in C also writes to a pipe, and a
    thread of its own reads it. The first of the two to come ends the process.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        # A shell has what runs in the background ignore Ctrl-C, and nohup has it ignore SIGHUP.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _end)
    if os.name == "posix":
        with suppress(RuntimeError, OSError):  # no thread, no descriptor: the handlers remain
            _watch_for_signals()


def _watch_for_signals() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_heed, args=(reader,), name="tokenkeeper-signals", daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)


def _heed(reader: int) -> None:
    """End the process as soon as the pipe says that a signal came which is to end it."""
    while numbers := os.read(reader, 64):
        for number in numbers:
            if signal.getsignal(number) is _end:
                _end(number, None)


@contextmanager
def signals_of_your_own() -> Iterator[None]:
    """Leave signals to the handlers that the main thread sets meanwhile; for loops that poll."""
    before = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        signal.set_wakeup_fd(before, warn_on_full_buffer=False)


def _end(number: int, _: FrameType | None) -> None:
    """End the process, and give a terminal its cursor back."""
    if not _ending.acquire(timeout=1):  # the other thread ends the process long before
        os._exit(128 + number)
    with suppress(OSError):  # the terminal may be gone
        terminals = [each for each in (1, 2) if os.isatty(each)]
        # A terminal that was halted with Ctrl-S takes nothing, and is not waited for.
        takes = select.select([], terminals[:1], [], 0)[1]
        can_hide = os.environ.get("TERM", "").lower() not in ("dumb", "unknown")
        for terminal in takes:
            os.write(terminal, (_SHOWN_CURSOR if can_hide else b"") + b"\n")
    os._exit(128 + number)  # also where the default would not end it: as the first process
