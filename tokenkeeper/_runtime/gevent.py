"""Checks that gevent or eventlet, if present, patched this process before it was too late."""

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
"""Whether the queues that the package imported at its own import are gevent's."""
_OURS_IS_EVENTLETS = _is_patched_by_eventlet()


def check_gevent() -> None:
    """Refuse a process in which threads and the queues that they wait on are of different kinds.

    If ``gevent.monkey.patch_all()`` or ``eventlet.monkey_patch()`` is called before any other
    import, both belong to greenlets, which works. If it is called later, a wait would block the
    hub; if only one of the two is patched, a wait would never end. A process can be patched at any
    time, so call this wherever a thread or a wait begins.

    :raises InvalidConfigurationError: with the call to change.
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
