"""Another default keeper for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.default import set_default_keeper
from tokenkeeper.keeper import TokenKeeper

__all__ = ["default_keeper"]


@contextmanager
def default_keeper(keeper: TokenKeeper) -> Iterator[TokenKeeper]:
    """Make *keeper* what the application gets as its default until the block ends.

    Both :func:`~tokenkeeper.get_default_keeper` and :func:`~tokenkeeper.get_default_manager` go
    by it, so application code is tested as it is. It is not closed here.
    """
    before = set_default_keeper(keeper)
    try:
        yield keeper
    finally:
        set_default_keeper(before)
