"""What an examination of a store found, for the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["StoreFinding"]


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """One thing that was examined.

    :ivar check: what was examined, in a word or two.
    :ivar status: whether it is in order.
    :ivar message: what was found, in one line without a secret.
    :ivar advice: what to do about it; ``""`` if nothing.
    """

    check: str
    status: Literal["ok", "warning", "problem"]
    message: str
    advice: str = ""
