"""What an examination of a store finds, for the doctor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["StoreFinding"]


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """One thing that was checked, and what is wrong with it, if anything is.

    :ivar check: what was checked, in one word, such as ``writable``.
    :ivar status: ``ok``, ``warning`` or ``problem``.
    :ivar message: what was found, in one line without secrets.
    :ivar advice: what to do; ``""`` if nothing is wrong.
    """

    check: str
    status: Literal["ok", "warning", "problem"]
    message: str
    advice: str = ""
