"""Which start of the machine a moment of its clock belongs to.

The monotonic clock begins again at each boot, so its moments mean something only beside the id of
the boot. Linux has such an id. Elsewhere the time of the boot takes its place: the wall clock minus
the monotonic one. Two readings of it are of the same boot if they differ by at most
:data:`TOLERANCE_SECONDS`, so a wall clock that is set by more makes stored tokens look old. That
costs a token request, and never hands out an expired token.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tokenkeeper.clock import Clock, instant

__all__ = ["boot_id", "is_same_boot"]

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

TOLERANCE_SECONDS = 30.0

_DERIVED = "booted-at:"


def boot_id(clock: Clock) -> str:
    """Return the id of the current boot.

    :param clock: which derives the id if the system has none.
    """
    with suppress(OSError, UnicodeDecodeError):
        # Not read_text: a process that gave up its privileges may not be able to import the codec.
        found = BOOT_ID.read_bytes().decode("ascii").strip()
        if found:
            return found
    return f"{_DERIVED}{instant(clock).offset:.3f}"


def is_derived(boot: str) -> bool:
    """Return whether the id *boot* is derived from the clocks."""
    return boot.startswith(_DERIVED)


def is_same_boot(one: str, other: str) -> bool:
    """Return whether two ids are of the same boot."""
    if not (is_derived(one) and is_derived(other)):
        return one == other
    try:
        moments = [float(each.removeprefix(_DERIVED)) for each in (one, other)]
    except ValueError:
        return False
    return abs(moments[0] - moments[1]) <= TOLERANCE_SECONDS
