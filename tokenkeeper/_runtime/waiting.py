"""Waits that notice a signal, and that an exception may end at any moment.

What a signal handler raises (Ctrl-C, Celery's soft time limit), and what a host throws into a
thread, strikes between any two bytecodes. Inside :class:`threading.Event` or
:class:`~threading.Condition`, which are written in Python, it can leave a lock held for ever. Bare
locks are safe from it.

A thread that waits for a lock does not see a signal that came just before its system call. It
would wait on until the lock is free. Python runs signal handlers in the main thread only, so that
thread waits in short slices.
"""

from __future__ import annotations

import threading

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["InterruptibleEvent", "join", "wait_for_gate"]

SLICE_SECONDS = 0.25
"""The main thread looks for signals at least this often while it waits."""


def wait_for_gate(gate: threading.Lock, timeout: float | None) -> bool:
    """Acquire *gate*, in real time; return ``False`` after *timeout* seconds without it."""
    if not _is_main_thread():
        return gate.acquire(timeout=-1 if timeout is None else min(timeout, threading.TIMEOUT_MAX))
    ends = None if timeout is None else SYSTEM_CLOCK.monotonic() + timeout
    while True:
        remaining = SLICE_SECONDS if ends is None else ends - SYSTEM_CLOCK.monotonic()
        if gate.acquire(timeout=max(0.0, min(remaining, SLICE_SECONDS))):
            return True
        if remaining <= 0:
            return False


def join(thread: threading.Thread, timeout: float) -> None:
    """Wait until *thread* has ended, for *timeout* seconds at most."""
    ends = SYSTEM_CLOCK.monotonic() + timeout
    while (remaining := ends - SYSTEM_CLOCK.monotonic()) > 0 and thread.is_alive():
        thread.join(min(remaining, SLICE_SECONDS))


class InterruptibleEvent(threading.Event):
    """An event made of bare locks: a wait may be interrupted anywhere and leaves none held."""

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False
        self._gates: dict[threading.Lock, None] = {}  # of those who wait

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set it, and wake everybody who waits."""
        self._is_set = True
        while self._gates:
            try:
                gate, _ = self._gates.popitem()  # atomic: each gate is opened by one thread
            except KeyError:
                return
            gate.release()

    def clear(self) -> None:
        """Take it back."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until it is set, for *timeout* seconds at most; return whether it is set."""
        if self.is_set():
            return True
        gate = threading.Lock()
        gate.acquire()
        self._gates[gate] = None
        try:
            # Whoever sets it after this look finds the gate.
            if self.is_set():
                return True
            wait_for_gate(gate, timeout)
        finally:
            self._gates.pop(gate, None)
        return self._is_set


def _is_main_thread() -> bool:
    return threading.main_thread().ident == threading.get_ident()
