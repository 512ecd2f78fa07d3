"""Rewinding the body of a request, so that it can be sent a second time."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["position_of", "rewind"]


def position_of(body: object) -> int | None:
    """Return the current position in *body*, for :func:`rewind`; ``None`` if it has none."""
    try:
        return body.tell()  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):  # ValueError: the file is closed
        return None


def rewind(body: object, position: int | None) -> bool:
    """Rewind *body* to *position*; return whether it can be sent again."""
    if body is None or isinstance(body, (bytes, bytearray, str, Mapping)):
        return True
    if position is None:
        return False
    try:
        body.seek(position)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # ValueError: the file is closed
        return False
    return True
