"""Where the commands write what is laid out for people."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["console"]

_NO_END = 10_000


def console() -> Console:
    """Return standard output: lines are broken for people only, a log is searched by the line."""
    found = Console(highlight=False)
    if not found.is_terminal and "COLUMNS" not in os.environ:
        found.width = _NO_END
    return found
