"""Calls that take a limit of time, whether or not what they call knows one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["within"]

T = TypeVar("T")

SLICE_SECONDS = 0.5
"""The longest single wait: one that a signal did not interrupt is over soon all the same."""


def within(seconds: float, function: Callable[[], T]) -> T:
    """Return what *function* returns.

    The resolver of names and a provider of somebody's own may take as long as they like. What is
    late is left behind on a daemon thread.

    :raises TimeoutError: if it takes more than *seconds*.
    :raises Exception: what it raises.
    """
    outcome: SimpleQueue[tuple[T] | Exception] = SimpleQueue()

    def run() -> None:
        try:
            outcome.put((function(),))
        except Exception as error:  # noqa: BLE001 - handed over to the caller
            outcome.put(error)

    threading.Thread(target=run, name="tokenkeeper-doctor", daemon=True).start()
    ends_at = SYSTEM_CLOCK.monotonic() + seconds
    while True:
        left = ends_at - SYSTEM_CLOCK.monotonic()
        try:
            landed = outcome.get(timeout=max(0.0, min(left, SLICE_SECONDS)))
        except Empty:
            if left > SLICE_SECONDS:
                continue
            raise TimeoutError(f"nothing for {seconds:g} s") from None
        if isinstance(landed, Exception):
            raise landed
        return landed[0]
