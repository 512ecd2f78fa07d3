"""How large a configuration may be once its aliases are filled in.

A few hundred bytes of YAML can stand for billions of values, and a value can contain itself.
Everything that walks through a configuration would then take hours, under a lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

__all__ = [
    "DEEPEST",
    "MOST_VALUES",
    "Parts",
    "TooMuchError",
    "check_nodes",
    "check_values",
    "weight_of",
]

MOST_VALUES = 50_000
"""Values and keys in all, each alias counted as often as it is used. A provider has about twenty.
A long text counts as one for each hundred characters."""

DEEPEST = 50
"""Levels of nesting. A provider has four."""

_CHARACTERS = 100

Parts = tuple[int, Iterable[Any]]
"""What a value counts for by itself, and the values in it."""


class TooMuchError(Exception):
    """A configuration is too large, or without end.

    :ivar what: which of these.
    :ivar why: the details.
    :ivar value: the value at fault.
    """

    def __init__(self, what: str, why: str, value: Any) -> None:
        super().__init__(what, why, value)
        self.what = what
        self.why = why
        self.value = value


def check_nodes(node: Any, parts: Callable[[Any], Parts]) -> None:
    """Check what *node* stands for, in time that depends on what is written down alone.

    :raises TooMuchError: saying what is wrong with it.
    """
    measures: dict[int, tuple[int, int]] = {}
    above: set[int] = set()

    def measure(value: Any, depth: int) -> tuple[int, int]:
        """Return how many values *value* stands for, and how many levels."""
        identity = id(value)
        if identity in above:
            raise TooMuchError("is not YAML", "an alias refers to itself", value)
        if depth > DEEPEST:
            raise TooMuchError("is nested too deeply", f"more than {DEEPEST} levels", value)
        known = measures.get(identity)
        if known is None:
            above.add(identity)
            size, contents = parts(value)
            height = 0
            for each in contents:
                inner = measure(each, depth + 1)
                size, height = size + inner[0], max(height, inner[1] + 1)
            above.remove(identity)
            known = measures[identity] = size, height
        if depth + known[1] > DEEPEST:
            raise TooMuchError("is nested too deeply", f"more than {DEEPEST} levels", value)
        if known[0] > MOST_VALUES:
            why = f"a value stands for more than {MOST_VALUES} others"
            raise TooMuchError("is too large", why, value)
        return known

    measure(node, 0)


def check_values(value: object) -> None:
    """Check a configuration that is given as a mapping, as :func:`check_nodes` does."""
    check_nodes(value, _parts_of_value)


def weight_of(text: str) -> int:
    """Return what *text* counts for."""
    return 1 + len(text) // _CHARACTERS


def _parts_of_value(value: object) -> Parts:
    if isinstance(value, str):
        return weight_of(value), ()
    if isinstance(value, Mapping):
        keys = sum(weight_of(key) if isinstance(key, str) else 1 for key in value)
        return 1 + keys, [value[key] for key in value]
    return 1, value if isinstance(value, (list, tuple)) else ()
