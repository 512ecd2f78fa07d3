"""A record of the store, and what this process knows of its token."""

from __future__ import annotations

from typing import NamedTuple

from tokenkeeper._renewal.cached_token import CachedToken

__all__ = ["Slot"]


class Slot(NamedTuple):
    """A record of the store, seen from this process.

    :ivar name: the name of its token.
    :ivar key: its key in the store.
    :ivar mine: the token that this process had from it, or put there; ``None`` if there was none.
    :ivar is_of_grant: whether it has the refresh token of a grant that works once.
    """

    name: str
    key: str
    mine: CachedToken | None
    is_of_grant: bool = False

    @property
    def known_generation(self) -> int:
        """The highest generation that this process knows of; 0 if it knows none."""
        return 0 if self.mine is None else self.mine.generation
