"""Objects that belong to one process: a copy is the object itself, and pickling is refused."""

from __future__ import annotations

from typing import Any, Self, SupportsIndex

__all__ = ["NotPicklable"]


class NotPicklable:
    """Base class of objects that hold locks, threads, connections, or secrets.

    ``copy.copy()`` and ``copy.deepcopy()`` return the object itself. An application can therefore
    copy settings that contain a keeper; the copy shares it. Pickling raises ``TypeError``, unless a
    subclass defines ``__reduce__``.
    """

    __slots__ = ()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: SupportsIndex) -> str | tuple[Any, ...]:
        if type(self).__reduce__ is not object.__reduce__:
            return self.__reduce__()
        raise TypeError(
            f"{type(self).__name__} can't be pickled: make one in each process, or let a forked "
            "child inherit it; an OAuth2Config can be pickled"
        )
