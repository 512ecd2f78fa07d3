"""Immutable copies of JSON values, for what a server sent beside a token."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from typing import Any

__all__ = ["EMPTY", "FrozenMapping", "frozen"]


class FrozenMapping(Mapping[str, Any]):
    """An immutable mapping. It pickles, and compares equal to a ``dict`` with the same items.

    ``repr`` shows the keys only, as the values may be secrets, such as an ``id_token``. Use
    ``dict(mapping)`` to see the values.
    """

    __slots__ = ("_content",)

    _content: dict[str, Any]

    def __init__(self, content: Mapping[str, Any]) -> None:
        copied = {name: frozen(value) for name, value in content.items()}
        object.__setattr__(self, "_content", copied)

    def __getitem__(self, name: str) -> Any:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)

    def __hash__(self) -> int:
        return hash(frozenset(self._content))  # equal mappings have equal names

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a {type(self).__name__} can't be changed")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a {type(self).__name__} can't be changed")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self._content),)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {list(self._content)}>"


EMPTY = FrozenMapping({})


def frozen(value: Any) -> Any:
    """Return *value* with immutable copies in place of mappings, lists and sets, at any depth.

    Lists become tuples. Anything else is returned unchanged: all other JSON values are immutable.
    """
    if isinstance(value, FrozenMapping):
        return value
    if isinstance(value, Mapping):
        return FrozenMapping(value)
    if isinstance(value, (list, tuple)):
        return tuple(frozen(each) for each in value)
    if isinstance(value, Set):
        return frozenset(value)
    return value
