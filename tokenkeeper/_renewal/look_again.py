"""What an attempt raises if it has to wait for another process."""

from __future__ import annotations

__all__ = ["LookAgain"]


class LookAgain(Exception):  # noqa: N818 - it is not an error
    """Another process is requesting this token, or the store is being left alone.

    :ivar after_seconds: when to look at the store again.
    """

    def __init__(self, after_seconds: float) -> None:
        super().__init__()
        self.after_seconds = after_seconds
