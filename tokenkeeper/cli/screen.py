"""The console for output that people read."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["can_go_back", "console"]

_UNLIMITED_WIDTH = 10_000


def console() -> Console:
    """Return standard output, which wraps lines on a terminal only: logs stay searchable."""
    found = Console(highlight=False)
    if not found.file.isatty() and "COLUMNS" not in os.environ:
        found.width = _UNLIMITED_WIDTH
    return found


def can_go_back(screen: Console) -> bool:
    """Return whether output can be overwritten. In a pipe it can't, even if colors are forced."""
    return screen.is_terminal and screen.file.isatty() and not screen.is_dumb_terminal
