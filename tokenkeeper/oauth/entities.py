"""Decodes HTML entities without a table of 2,000 names in every process."""

from __future__ import annotations

from tokenkeeper._runtime.fork import late_import

__all__ = ["unescape_entities"]


def unescape_entities(text: str) -> str:
    """Return *text* with HTML entities such as ``&amp;`` decoded."""
    return str(late_import("html").unescape(text)) if "&" in text else text
