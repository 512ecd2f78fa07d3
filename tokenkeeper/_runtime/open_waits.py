"""The waits of callers that a keeper ends when it closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["OpenWaits"]


class OpenWaits:
    """Waits that end together. Thread-safe, without a lock: each step is one of a dictionary.

    :ivar is_over: whether they were ended, so that no other may begin.
    """

    def __init__(self) -> None:
        self.is_over: bool = False
        self._ends: dict[object, Callable[[], None]] = {}

    @contextmanager
    def listed(self, end: Callable[[], None]) -> Iterator[None]:
        """Have :meth:`end` call *end* while what runs inside waits.

        It looks at :attr:`is_over` first, and before each further wait.
        """
        key = object()
        self._ends[key] = end
        try:
            yield
        finally:
            self._ends.pop(key, None)

    def end(self) -> None:
        """End all waits. Idempotent."""
        self.is_over = True
        for end in list(self._ends.values()):
            end()
