"""Waits that notice signals, and that an exception can interrupt safely at any moment.

An exception from a signal handler (Ctrl-C, Celery's soft time limit) or from the host can be raised
between any two bytecodes. Inside :class:`threading.Event` or :class:`~threading.Condition`, which
are written in Python, it can leave a lock held forever. Bare locks are safe.

A thread that waits for a lock misses a signal that arrives just before its system call, and would
wait until the lock is free. Python runs signal handlers in the main thread only, so that thread
waits in short slices.
"""

from __future__ import annotations

import threading

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["InterruptibleEvent", "join", "wait_for_gate"]

SLICE_SECONDS = 0.25
"""How often the main thread checks for signals while it waits."""


def wait_for_gate(gate: threading.Lock, timeout: float | None) -> bool:
    """Acquire *gate*; return ``False`` if it is not free within *timeout* seconds of real time."""
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
    """Wait until *thread* has ended, at most *timeout* seconds."""
    ends = SYSTEM_CLOCK.monotonic() + timeout
    while (remaining := ends - SYSTEM_CLOCK.monotonic()) > 0 and thread.is_alive():
        thread.join(min(remaining, SLICE_SECONDS))


class InterruptibleEvent(threading.Event):
    """An event made of bare locks. A wait may be interrupted anywhere, and leaves no lock held."""

    def __init__(self) -> None:
        super().__init__()
        self._is_set = False
        self._gates: dict[threading.Lock, None] = {}  # one for each wait

    def is_set(self) -> bool:
        """Return whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Set the event, and end all waits."""
        self._is_set = True
        while self._gates:
            try:
                gate, _ = self._gates.popitem()  # atomic, so each gate is released once
            except KeyError:
                return
            gate.release()

    def clear(self) -> None:
        """Reset the event, so that waits block again."""
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the event is set, at most *timeout* seconds; return whether it is set."""
        if self.is_set():
            return True
        gate = threading.Lock()
        gate.acquire()
        self._gates[gate] = None
        try:
            # A thread that sets the event after this check finds the gate.
            if self.is_set():
                return True
            wait_for_gate(gate, timeout)
        finally:
            self._gates.pop(gate, None)
        return self._is_set


def _is_main_thread() -> bool:
    return threading.main_thread().ident == threading.get_ident()
