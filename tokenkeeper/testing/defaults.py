"""Another default keeper for the length of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper import keeper as home
from tokenkeeper.keeper import TokenKeeper

__all__ = ["default_keeper"]


@contextmanager
def default_keeper(keeper: TokenKeeper) -> Iterator[TokenKeeper]:
    """Make *keeper* what the application gets as its default until the block ends.

    Both :func:`~tokenkeeper.get_default_keeper` and :func:`~tokenkeeper.get_default_manager` go
    by it, so application code is tested as it is. It is not closed here.
    """
    before = home._swap_default(keeper)  # noqa: SLF001 - nobody but tests may do that
    try:
        yield keeper
    finally:
        home._swap_default(before)  # noqa: SLF001
