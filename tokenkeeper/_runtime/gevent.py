"""Whether gevent or eventlet patched this process in a way that waiting works in."""

from __future__ import annotations

import queue
import sys
from collections.abc import Callable

from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["check_gevent"]


def _is_patched_by_eventlet() -> bool:
    patcher = sys.modules.get("eventlet.patcher")
    return patcher is not None and bool(patcher.is_monkey_patched("thread"))


_OURS_IS_GEVENTS = queue.SimpleQueue.__module__.startswith("gevent")
"""What the package waits on was taken from ``queue`` when it was imported."""
_OURS_IS_EVENTLETS = _is_patched_by_eventlet()


def check_gevent() -> None:
    """Refuse a process in which threads and what they wait on are not of one kind.

    With ``gevent.monkey.patch_all()`` or ``eventlet.monkey_patch()`` before anything else both are
    greenlets', and all is well. After that a wait would block the hub, and with half of it patched
    it would never end. So this is called wherever a thread or a wait begins: a process may be
    patched at any time.

    :raises InvalidConfigurationError: saying what to change.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        _check_gevent(monkey.is_module_patched)
    if _is_patched_by_eventlet() and not _OURS_IS_EVENTLETS:
        raise InvalidConfigurationError(
            "eventlet patched threading after tokenkeeper was imported: "
            "call eventlet.monkey_patch() before tokenkeeper is imported"
        )


def _check_gevent(is_patched: Callable[[str], bool]) -> None:
    threads_are_green = is_patched("threading")
    if threads_are_green == _OURS_IS_GEVENTS:
        return
    if threads_are_green and is_patched("queue"):
        advice = "call gevent.monkey.patch_all() before tokenkeeper is imported"
    else:
        advice = "patch both or neither of them: patch_all(), or thread=False with queue=False"
    raise InvalidConfigurationError(
        f"gevent patched threading and queue differently for tokenkeeper: {advice}"
    )
