"""Durations in words."""

from __future__ import annotations

__all__ = ["span"]

_DAY_SECONDS = 86400


def span(seconds: float) -> str:
    """Return *seconds* in whole days, hours, minutes or seconds, whichever is more than one."""
    units = (("days", _DAY_SECONDS), ("hours", 3600), ("minutes", 60))
    for name, length in units:
        if seconds >= 2 * length:
            return f"{int(seconds / length)} {name}"
    return f"{int(seconds)} s"
