"""The one event loop that the library owns, for providers written with ``async def``.

All of them run there, whoever asks, so that what they keep (a client session, a lock) always
meets the loop that it was made on. The loop starts at first use, on a daemon thread, once for the
process; a forked child starts its own. asyncio is imported then: blocking code does without it.

Where the host starts no thread, the caller's own thread runs the loop, for as long as the call
takes. It is one loop there as well.
"""

from __future__ import annotations

import atexit
import inspect
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tokenkeeper._runtime.fork import forks_wait, notice_fork, renew_after_fork
from tokenkeeper._runtime.gevent import check_gevent
from tokenkeeper._runtime.waiting import InterruptibleEvent, join

if TYPE_CHECKING:
    import asyncio

__all__ = ["call", "on_provider_loop"]

T = TypeVar("T")


def call(method: Callable[..., T | Awaitable[T]], *arguments: Any) -> T:
    """Call *method*, plain or ``async def``, and return what it returns in the end. Blocks."""
    if inspect.iscoroutinefunction(method):
        return cast("T", _loop.run(partial(method, *arguments)))
    result = method(*arguments)
    if inspect.isawaitable(result):
        return cast("T", _loop.run(lambda: result))
    return result


def on_provider_loop() -> bool:
    """Say whether the caller is on the library's event loop, where blocking would hang it."""
    return _loop.is_run_by_caller()


class _Call(Generic[T]):
    """A coroutine function to be run on the loop, and a thread that waits for its outcome.

    No lock is shared with the loop, or an exception that strikes the thread could leave it held.
    """

    def __init__(
        self, function: Callable[[], Awaitable[T]], tasks: set[asyncio.Task[None]]
    ) -> None:
        self._function = function
        self._tasks = tasks
        self._done = InterruptibleEvent()
        self._task: asyncio.Task[None] | None = None
        self._result: T | None = None
        self._error: BaseException | None = None

    def begin(self) -> None:
        """Begin it. Called by the loop."""
        import asyncio

        self._task = asyncio.ensure_future(self._run())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel it, as nobody waits any more. Called by the loop."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self._result = await self._function()
        except BaseException as error:  # noqa: BLE001 - the caller's; the loop serves others too
            self._error = error
        finally:
            # So the task is freed on this thread: in the callbacks of its weak references CPython
            # would swallow an exception that strikes the caller.
            self._task = None
            self._done.set()

    def wait(self) -> T:
        """Block until it has ended; return what it returned, or raise what it raised."""
        from asyncio import CancelledError

        self._done.wait()
        error, self._error = self._error, None
        try:
            if isinstance(error, CancelledError):
                raise _cancelled()
            if error is not None:
                raise error
            return cast("T", self._result)
        finally:
            del error  # its traceback refers to this frame


class _NoThreadError(RuntimeError):
    """The host starts no thread, or none any more."""


class _Start:
    """What becomes of a thread that starts the loop."""

    def __init__(self) -> None:
        self.done = InterruptibleEvent()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.stop: Callable[[], None] | None = None
        self.error: BaseException | None = None


class _PortalLoop:
    """Runs coroutine functions on a loop of its own. Thread-safe."""

    def __init__(self) -> None:
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Leave the loop to the parent, and its thread."""
        self._lock = threading.Lock()  # guards the start; held until the loop runs
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = set()  # of calls under way; the loop's thread alone
        self._starting: _Start | None = None
        self._stop: Callable[[], None] | None = None
        self.thread: threading.Thread | None = None
        self._here = threading.Lock()  # held while a caller's thread runs the loop below
        self._here_ident: int | None = None  # of that thread
        self._loop_here: asyncio.AbstractEventLoop | None = None

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run *function*, and block until it has ended.

        :raises RuntimeError: on the loop's own thread.
        """
        notice_fork()
        if self.is_run_by_caller():
            raise RuntimeError("the library's event loop can't wait for itself")
        try:
            loop = self.start()
        except _NoThreadError:
            return self._run_here(function)
        call = _Call(function, self._tasks)
        context = copy_context()
        library = getattr(sys.modules.get("sniffio"), "current_async_library_cvar", None)
        if library is not None:  # the caller may be on a loop of trio
            context.run(library.set, "asyncio")
        try:
            loop.call_soon_threadsafe(call.begin, context=context)
            return call.wait()
        except BaseException:
            # It failed, and then this does nothing, or the caller was interrupted.
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(call.cancel)
            raise

    def start(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which runs.

        :raises RuntimeError: if this host starts no thread.
        :raises InvalidConfigurationError: if gevent or eventlet patched the process too late.
        """
        with self._lock:
            if self._loop is None:
                check_gevent()
                with forks_wait():  # anyio imports its backend as the loop starts
                    # A caller that was interrupted here may have begun to start it.
                    starting = self._starting or self._begin_to_start()
                    starting.done.wait()
                self._starting = None
                if starting.error is not None:
                    raise starting.error
                self._stop, self._loop = starting.stop, starting.loop
            assert self._loop is not None  # noqa: S101 - for the type checker
            return self._loop

    def _begin_to_start(self) -> _Start:
        """Start the thread of the loop. Called with the lock held."""
        self._tasks = set()
        starting = _Start()
        try:
            thread = threading.Thread(
                target=_serve, args=(starting, self._tasks), name="tokenkeeper-loop", daemon=True
            )
            thread.start()
        except RuntimeError:
            raise _NoThreadError from None
        self.thread, self._starting = thread, starting
        return starting

    def _run_here(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run *function* on the calling thread, even inside an event loop, which then waits."""
        import asyncio

        with self._here:
            if self._loop_here is None:
                self._loop_here = asyncio.new_event_loop()
            loop = self._loop_here
            task: asyncio.Task[T] | None = None
            self._here_ident = threading.get_ident()
            try:
                with _outside_of_loops():
                    task = loop.create_task(_finish(function))
                    return loop.run_until_complete(task)
            except asyncio.CancelledError:
                raise _cancelled() from None
            except BaseException:
                if task is not None:
                    task.cancel()  # the caller was interrupted; it ends when the loop runs next
                raise
            finally:
                self._here_ident = None

    def is_run_by_caller(self) -> bool:
        """Return whether the calling thread is the one that runs the loop."""
        me = threading.get_ident()
        return me == self._here_ident or (self.thread is not None and self.thread.ident == me)

    def stop(self, join_seconds: float) -> None:
        """Stop the loop once its tasks have ended, and wait for that *join_seconds* at most."""
        stop, loop, thread = self._stop, self._loop, self.thread
        if stop is not None and loop is not None and thread is not None and thread.is_alive():
            self._loop = None
            # Without cancelling: what hangs ends with the process, and needs no last words.
            loop.call_soon_threadsafe(stop)
            join(thread, join_seconds)


def _cancelled() -> Exception:
    """Return the error of a provider that was cancelled by something else than its caller."""
    from concurrent.futures import CancelledError

    return CancelledError()


@contextmanager
def _outside_of_loops() -> Iterator[None]:
    """Have asyncio and anyio forget the event loop that the calling thread runs in."""
    from asyncio import events

    running = events._get_running_loop()  # noqa: SLF001 - for who implements loops
    sniffio: Any = sys.modules.get("sniffio")
    library = sniffio and sniffio.thread_local.name
    token = sniffio and sniffio.current_async_library_cvar.set("asyncio")
    try:
        events._set_running_loop(None)  # noqa: SLF001
        if sniffio:
            sniffio.thread_local.name = "asyncio"
        yield
    finally:
        events._set_running_loop(running)  # noqa: SLF001
        if sniffio:
            sniffio.thread_local.name = library
            sniffio.current_async_library_cvar.reset(token)


async def _finish(function: Callable[[], Awaitable[T]]) -> T:
    return await function()


def _serve(starting: _Start, tasks: set[asyncio.Task[None]]) -> None:
    """Run the loop until it is stopped."""
    try:
        import asyncio

        import anyio

        async def serve() -> None:
            stopped = asyncio.Event()
            starting.loop, starting.stop = asyncio.get_running_loop(), stopped.set
            starting.done.set()
            await stopped.wait()
            while tasks:
                await asyncio.wait(tasks)

        anyio.run(serve, backend="asyncio")
    except BaseException as error:
        if starting.done.is_set():
            raise
        starting.error = error  # or whoever waits for the loop would wait for ever
        starting.done.set()


_loop = _PortalLoop()
renew_after_fork(_loop)
# Plenty for a loop with nothing to do; one with something to do is left to end with the process.
atexit.register(_loop.stop, 0.2)
