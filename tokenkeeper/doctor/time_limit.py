"""A time limit for calls that have none of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from tokenkeeper.clock import SYSTEM_CLOCK

__all__ = ["within"]

T = TypeVar("T")

SLICE_SECONDS = 0.5
"""The longest single wait. A wait that no signal interrupts delays its handler by this at most."""


def within(seconds: float, function: Callable[[], T]) -> T:
    """Return the result of *function*, which runs on a daemon thread.

    The name resolver and custom providers may take any time. If the call is late, its thread is
    abandoned.

    :raises TimeoutError: if it takes more than *seconds*.
    :raises Exception: if *function* raises it.
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
            result = outcome.get(timeout=max(0.0, min(left, SLICE_SECONDS)))
        except Empty:
            if left > SLICE_SECONDS:
                continue
            raise TimeoutError(f"no result within {seconds:g} s") from None
        if isinstance(result, Exception):
            raise result
        return result[0]
