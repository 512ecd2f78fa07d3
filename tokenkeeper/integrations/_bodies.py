"""Which bodies of requests can be sent a second time."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["position_of", "rewind"]


def position_of(body: object) -> int | None:
    """Return where *body* stands, for :func:`rewind`; ``None`` if it stands nowhere."""
    try:
        return body.tell()  # type: ignore[attr-defined, no-any-return]
    except (AttributeError, OSError, ValueError):  # the last one if it is closed
        return None


def rewind(body: object, position: int | None) -> bool:
    """Make *body* ready to be sent again; ``False`` if that can't be."""
    if body is None or isinstance(body, (bytes, bytearray, str, Mapping)):
        return True
    if position is None:
        return False
    try:
        body.seek(position)  # type: ignore[attr-defined]
    except (AttributeError, OSError, ValueError):  # the last one if it is closed
        return False
    return True
