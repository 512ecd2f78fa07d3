"""Equal values that many objects have in common, kept in memory once."""

from __future__ import annotations

from typing import Generic, TypeVar

__all__ = ["Shared"]

T = TypeVar("T")

MOST_VALUES = 64
"""Values that are shared. A service with a thousand providers has a few kinds of them."""


class Shared(Generic[T]):
    """Immutable values by a key that is equal for equal ones. Thread-safe.

    They are kept for good, so there is a limit. Beyond it each owner keeps its own.
    """

    def __init__(self) -> None:
        self._values: dict[object, T] = {}

    def one(self, key: object, value: T) -> T:
        """Return the value of an equal *key* if there is one, else *value*.

        *key* must not hold anything that has to be collected.
        """
        if len(self._values) < MOST_VALUES:
            return self._values.setdefault(key, value)
        return self._values.get(key, value)
