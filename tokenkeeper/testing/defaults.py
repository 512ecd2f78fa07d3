"""Another default keeper during a test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.default import set_default_keeper
from tokenkeeper.keeper import TokenKeeper

__all__ = ["default_keeper"]


@contextmanager
def default_keeper(keeper: TokenKeeper) -> Iterator[TokenKeeper]:
    """Make *keeper* the default keeper until the block ends.

    :func:`~tokenkeeper.get_default_keeper` and :func:`~tokenkeeper.get_default_manager` both use
    it, so application code is tested unchanged. The keeper is not closed here.
    """
    before = set_default_keeper(keeper)
    try:
        yield keeper
    finally:
        set_default_keeper(before)
