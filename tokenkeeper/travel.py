"""What can't travel to another process, and says so."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex

__all__ = ["StaysHere"]


class StaysHere:
    """A base of what holds locks, threads and connections, and secrets along with them."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} can't be pickled: make one in each process, or let a forked "
            "child inherit it; an OAuth2Config can be pickled"
        )
