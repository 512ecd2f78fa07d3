"""Which machine this is, for tokens that are granted to whichever machine asks."""

from __future__ import annotations

import socket
from functools import cache
from pathlib import Path

__all__ = ["this_machine"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@cache
def this_machine() -> str:
    """Return a text that differs from one machine to another, and is the same in its containers.

    It is the id that Linux gives each boot, or else the host's name.
    """
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip() or socket.gethostname()
    except (OSError, ValueError):
        return socket.gethostname()
