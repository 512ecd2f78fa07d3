"""Where the commands write what is laid out for people."""

from __future__ import annotations

import os

from rich.console import Console

__all__ = ["can_go_back", "console"]

_NO_END = 10_000


def console() -> Console:
    """Return standard output: lines are broken for people only, a log is searched by the line."""
    found = Console(highlight=False)
    if not found.file.isatty() and "COLUMNS" not in os.environ:
        found.width = _NO_END
    return found


def can_go_back(screen: Console) -> bool:
    """Say whether what is written can be changed: not in a pipe, though it may want colours."""
    return screen.is_terminal and screen.file.isatty() and not screen.is_dumb_terminal
