"""Limits on the size of a configuration with its aliases expanded.

A few hundred bytes of YAML can expand to billions of values, and a value can contain itself.
Processing such a configuration would take hours, under a lock.
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
"""All values and keys, with each alias counted as often as it is used. A provider has about twenty.
A long text counts as one value for each hundred characters."""

DEEPEST = 50
"""Levels of nesting. A provider has four."""

_CHARACTERS = 100

Parts = tuple[int, Iterable[Any]]
"""How many values a value counts as without its contents, and its contents."""


class TooMuchError(Exception):
    """A configuration is too large, or contains itself.

    :ivar what: what is wrong, to follow the file's name in a sentence.
    :ivar why: the limit.
    :ivar value: the value at fault.
    """

    def __init__(self, what: str, why: str, value: Any) -> None:
        super().__init__(what, why, value)
        self.what = what
        self.why = why
        self.value = value


def check_nodes(node: Any, parts: Callable[[Any], Parts]) -> None:
    """Check the expanded size of *node*, in time that depends on its written size only.

    :param parts: returns the parts of a value.
    :raises TooMuchError: if it is too large.
    """
    measures: dict[int, tuple[int, int]] = {}
    above: set[int] = set()

    def measure(value: Any, depth: int) -> tuple[int, int]:
        """Return how many values *value* expands to, and how many levels."""
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
            why = f"a value expands to more than {MOST_VALUES} others"
            raise TooMuchError("is too large", why, value)
        return known

    measure(node, 0)


def check_values(value: object) -> None:
    """Check a configuration that is a mapping, as :func:`check_nodes` does."""
    check_nodes(value, _parts_of_value)


def weight_of(text: str) -> int:
    """Return how many values *text* counts as."""
    return 1 + len(text) // _CHARACTERS


def _parts_of_value(value: object) -> Parts:
    if isinstance(value, str):
        return weight_of(value), ()
    if isinstance(value, Mapping):
        keys = sum(weight_of(key) if isinstance(key, str) else 1 for key in value)
        return 1 + keys, [value[key] for key in value]
    return 1, value if isinstance(value, (list, tuple)) else ()
