"""Keeps the query of our requests out of the debug log of urllib3: a secret may be in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tokenkeeper.checks import shown_url

__all__ = ["query_unlogged"]

_thread = threading.local()


class _WithoutQuery(logging.Filter):
    """Cuts the query off URLs in records that a request of ours caused on this thread."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change *record*, and let it pass."""
        if getattr(_thread, "asks", False) and isinstance(record.args, tuple):
            record.args = tuple(
                f"{shown_url(each)}?..." if isinstance(each, str) and "?" in each else each
                for each in record.args
            )
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQuery())


@contextmanager
def query_unlogged() -> Iterator[None]:
    """Return a context for a request on this thread whose query is not logged."""
    _thread.asks = True
    try:
        yield
    finally:
        _thread.asks = False
