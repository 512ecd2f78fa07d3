"""Whether gevent patched this process in a way that waiting works in."""

from __future__ import annotations

import queue
import sys

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["check_greenlets"]

_OURS_IS_GREEN = queue.SimpleQueue.__module__.startswith("gevent")
"""What the package waits on was taken from ``queue`` when it was imported."""


def check_greenlets() -> None:
    """Refuse a process in which threads and what they wait on are not of one kind.

    With ``gevent.monkey.patch_all()`` before anything else both are greenlets', and all is well.
    After that a wait would block the hub, and with half of it patched it would never end.

    :raises InvalidConfigurationError: saying what to change.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return
    threads_are_green = monkey.is_module_patched("threading")
    if threads_are_green == _OURS_IS_GREEN:
        return
    if threads_are_green and monkey.is_module_patched("queue"):
        advice = "call gevent.monkey.patch_all() before tokenkeeper is imported"
    else:
        advice = "patch both or neither of them: patch_all(), or thread=False with queue=False"
    raise InvalidConfigurationError(
        f"gevent patched threading and queue differently for tokenkeeper: {advice}"
    )
