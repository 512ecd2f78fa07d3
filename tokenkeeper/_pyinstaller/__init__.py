"""Hooks for PyInstaller, which finds this package by its entry point ``pyinstaller40``."""

from __future__ import annotations

from pathlib import Path

__all__ = ["get_hook_dirs"]


def get_hook_dirs() -> list[str]:
    """Return the directories with hooks."""
    return [str(Path(__file__).parent)]
