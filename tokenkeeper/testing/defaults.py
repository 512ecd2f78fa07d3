"""A default keeper for the duration of a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.default import set_default_keeper
from tokenkeeper.keeper import TokenKeeper

__all__ = ["default_keeper"]


@contextmanager
def default_keeper(keeper: TokenKeeper) -> Iterator[TokenKeeper]:
    """Make *keeper* the process-wide default until the block ends.

    :func:`~tokenkeeper.get_default_keeper` and :func:`~tokenkeeper.get_default_manager` return it,
    so application code can be tested unchanged. The keeper is not closed here.
    """
    before = set_default_keeper(keeper)
    try:
        yield keeper
    finally:
        set_default_keeper(before)
