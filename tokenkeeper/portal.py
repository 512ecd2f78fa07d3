"""The one event loop that the library owns, for providers written with ``async def``.

All of them run there, whoever asks, so that what they keep (a client session, a lock) always
meets the loop that it was made on. The loop starts at first use, on a daemon thread, once for the
process; a forked child starts its own. anyio is imported then: blocking code does without it.
"""

from __future__ import annotations

import atexit
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from tokenkeeper.fork import forks_wait, renew_after_fork

if TYPE_CHECKING:
    from anyio.from_thread import BlockingPortal

__all__ = ["call", "on_portal_thread"]

T = TypeVar("T")


def call(method: Callable[..., T | Awaitable[T]], *arguments: Any) -> T:
    """Call *method*, plain or ``async def``, and return what it returns in the end. Blocks."""
    if inspect.iscoroutinefunction(method):
        return cast("T", _loop.portal().call(method, *arguments))
    result = method(*arguments)
    if inspect.isawaitable(result):
        return _loop.portal().call(_finish, result)
    return result


def on_portal_thread() -> bool:
    """Say whether the caller is on the library's event loop, where blocking would hang it."""
    return _loop.thread is not None and _loop.thread.ident == threading.get_ident()


async def _finish(awaitable: Awaitable[T]) -> T:
    return await awaitable


class _PortalLoop:
    """Starts the loop and its portal.

    anyio's own starter joins its thread without a limit, which would let a provider that hangs
    hold up the end of the interpreter.
    """

    def __init__(self) -> None:
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        self._lock = threading.Lock()  # guards the start; held until the loop runs
        self._portal: BlockingPortal | None = None
        self.thread: threading.Thread | None = None

    def portal(self) -> BlockingPortal:
        with self._lock:
            if self._portal is None:
                started: Future[BlockingPortal] = Future()
                self.thread = threading.Thread(
                    target=_run, args=(started,), name="tokenkeeper-loop", daemon=True
                )
                with forks_wait():  # anyio imports its backend as the loop starts
                    self.thread.start()
                    self._portal = started.result()
            return self._portal

    def stop(self, join_seconds: float) -> None:
        portal, thread = self._portal, self.thread
        if portal is not None and thread is not None:
            # Without cancelling: what hangs ends with the process, and needs no last words.
            portal.start_task_soon(portal.stop, False)
            thread.join(join_seconds)


def _run(started: Future[BlockingPortal]) -> None:
    try:
        import anyio
        from anyio.from_thread import BlockingPortal

        async def serve() -> None:
            async with BlockingPortal() as portal:
                started.set_result(portal)
                await portal.sleep_until_stopped()

        anyio.run(serve, backend="asyncio")
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)  # or whoever waits for the loop would wait for ever


_loop = _PortalLoop()
renew_after_fork(_loop)
# Plenty for a loop with nothing to do; one with something to do is left to end with the process.
atexit.register(_loop.stop, 0.2)
