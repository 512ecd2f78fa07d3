"""Decodes HTML entities without a table of 2,000 names in every process."""

from __future__ import annotations

from tokenkeeper._runtime.fork import forks_wait

__all__ = ["unescape_entities"]


def unescape_entities(text: str) -> str:
    """Return *text* with HTML entities such as ``&amp;`` decoded."""
    if "&" not in text:
        return text
    with forks_wait():
        import html
    return html.unescape(text)
