"""The event loop of a subscriber, asyncio's or trio's: it runs one call at a time."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tokenkeeper._renewal.delivery import MAX_PENDING

__all__ = ["SubscriberLoop"]

Call = Callable[[], object]
"""A call to make; it may return an awaitable."""


class SubscriberLoop:
    """An event loop, held weakly, and the calls that wait for it.

    :param loop: asyncio's event loop, or trio's token.
    :param report: called with an exception that a call raised.
    """

    def __init__(self, loop: Any, report: Callable[[Exception], None]) -> None:
        self._loop: Callable[[], Any] = weakref.ref(loop)
        self._report = report
        # Only the thread of the loop touches these.
        self._waiting: deque[Call] = deque(maxlen=MAX_PENDING)
        self._is_busy = False

    @classmethod
    def running(cls, report: Callable[[Exception], None]) -> SubscriberLoop | None:
        """Return the loop that this thread runs, or ``None``."""
        if "trio" in sys.modules:
            import trio

            with suppress(RuntimeError):
                return cls(trio.lowlevel.current_trio_token(), report)
        if "asyncio" in sys.modules:
            import asyncio

            with suppress(RuntimeError):
                return cls(asyncio.get_running_loop(), report)
        return None

    @property
    def is_over(self) -> bool:
        """Whether it runs no more, as far as is known."""
        loop = self._loop()
        is_closed = getattr(loop, "is_closed", None)  # of asyncio; trio's says so when it is called
        return loop is None or (is_closed is not None and is_closed())

    def make(self, call: Call) -> bool:
        """Have *call* made on the loop, after the ones before it; ``False`` if the loop is over.

        If it returns an awaitable, that is awaited before the next call.
        """
        loop = self._loop()
        if loop is None:
            return False
        call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
        try:
            call_soon(self._add, call)
        except RuntimeError:  # the loop is closed
            return False
        return True

    def _add(self, call: Call) -> None:
        self._waiting.append(call)
        if not self._is_busy:
            self._make_waiting()

    def _make_waiting(self) -> None:
        """Make calls until one has to be awaited."""
        self._is_busy = False
        while self._waiting and not self._is_busy:
            call = self._waiting.popleft()
            try:
                result = call()
            except Exception as error:  # noqa: BLE001 - the loop must not end for it
                self._report(error)
                continue
            if inspect.isawaitable(result):
                self._is_busy = True
                self._await(result)

    def _await(self, result: Awaitable[object]) -> None:
        if "trio" in sys.modules:
            import trio

            if trio.lowlevel.in_trio_run():
                trio.lowlevel.spawn_system_task(self._await_in_trio, result)
                return
        import asyncio

        task = asyncio.ensure_future(result)  # cancelled before it starts, it causes no warning
        _tasks.add(task)
        task.add_done_callback(self._finish)

    async def _await_in_trio(self, result: Awaitable[object]) -> None:
        try:
            await result
        except Exception as error:  # noqa: BLE001 - no task awaits it
            self._report(error)
        self._make_waiting()

    def _finish(self, task: Any) -> None:
        _tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            self._report(error)
        self._make_waiting()


_tasks: set[Any] = set()
"""asyncio keeps tasks weakly."""
