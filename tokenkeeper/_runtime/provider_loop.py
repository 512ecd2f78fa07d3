"""The one event loop that the library owns, for providers written with ``async def``.

All of them run on it, for any caller, so that the objects they keep (a client session, a lock) are
always used on the loop that they were created on. The loop starts at first use, on a daemon thread,
once for the process; a forked child starts its own. asyncio is imported then, so blocking code
doesn't load it.

If the host can't start threads, or must not, the caller's thread runs the loop for the duration of
the call. It is a single loop as well.
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
from tokenkeeper._runtime.uwsgi import is_uwsgi_master
from tokenkeeper._runtime.waiting import InterruptibleEvent, join

if TYPE_CHECKING:
    import asyncio

__all__ = ["call", "on_provider_loop"]

T = TypeVar("T")


def call(method: Callable[..., T | Awaitable[T]], *arguments: Any) -> T:
    """Call *method*, plain or ``async def``, and return its final result. Blocks."""
    if inspect.iscoroutinefunction(method):
        return cast("T", _loop.run(partial(method, *arguments)))
    result = method(*arguments)
    if inspect.isawaitable(result):
        return cast("T", _loop.run(lambda: result))
    return result


def on_provider_loop() -> bool:
    """Return whether the caller is on the library's event loop, which must not be blocked."""
    return _loop.is_run_by_caller()


class _Call(Generic[T]):
    """A coroutine function that runs on the loop, and the outcome that a thread waits for.

    It shares no lock with the loop: an exception that interrupts the thread could leave it held.
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
        """Start the coroutine. Called on the loop."""
        import asyncio

        self._task = asyncio.ensure_future(self._run())
        self._tasks.add(self._task)
        self._task.add_done_callback(self._tasks.discard)

    def cancel(self) -> None:
        """Cancel the coroutine, because its caller is gone. Called on the loop."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self._result = await self._function()
        except BaseException as error:  # noqa: BLE001 - for the caller; the loop must continue
            self._error = error
        finally:
            # This frees the task on the loop's thread. On the caller's thread, CPython would
            # swallow an exception that is raised in the callbacks of the task's weak references.
            self._task = None
            self._done.set()

    def wait(self) -> T:
        """Block until the coroutine has ended; return its result or raise its exception."""
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
            del error  # its traceback refers to this frame, a reference cycle


class _NoThreadError(RuntimeError):
    """The host can't start a thread, can't any more, or must not."""


class _Start:
    """The state of a thread that starts the loop."""

    def __init__(self) -> None:
        self.done = InterruptibleEvent()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.stop: Callable[[], None] | None = None
        self.error: BaseException | None = None
        self.has_served = False  # until it was stopped, without an error


class _PortalLoop:
    """Runs coroutine functions on its own event loop. Thread-safe."""

    def __init__(self) -> None:
        self._loop_here: asyncio.AbstractEventLoop | None = None
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Leave the loop and its thread to the parent."""
        self._lock = threading.Lock()  # guards the start; held until the loop is running
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[None]] = (
            set()
        )  # of current calls; used on the loop's thread only
        self._starting: _Start | None = None
        self._stop: Callable[[], None] | None = None
        self.thread: threading.Thread | None = None
        self._here = threading.Lock()  # held while a caller's thread runs its loop
        self._here_ident: int | None = None  # the ident of that thread
        # Kept alive: if it were collected, it would close what it shares with the parent's.
        self._parents_loop_here = self._loop_here
        self._loop_here = None

    def run(self, function: Callable[[], Awaitable[T]]) -> T:
        """Run *function*, block until it has ended, and return its result.

        :raises RuntimeError: if it is called on the loop's own thread.
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
        if library is not None:  # the caller may be on trio's loop
            context.run(library.set, "asyncio")
        try:
            loop.call_soon_threadsafe(call.begin, context=context)
            return call.wait()
        except BaseException:
            # Either the coroutine failed, and this has no effect, or the caller was interrupted.
            with suppress(RuntimeError):  # the loop has stopped
                loop.call_soon_threadsafe(call.cancel)
            raise

    def start(self) -> asyncio.AbstractEventLoop:
        """Start the loop unless it is running, and return it.

        :raises RuntimeError: if this host can't start a thread.
        :raises InvalidConfigurationError: if gevent or eventlet patched the process too late.
        """
        with self._lock:
            if self._loop is None:
                check_gevent()
                with forks_wait():  # anyio imports its backend when the loop starts
                    # A caller that was interrupted here may have started the thread already.
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
        if is_uwsgi_master():
            raise _NoThreadError
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
        """Run *function* on the calling thread. It blocks an event loop that runs there."""
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
                    task.cancel()  # the caller was interrupted; the task ends in the next run
                raise
            finally:
                self._here_ident = None

    def is_run_by_caller(self) -> bool:
        """Return whether the calling thread runs the loop."""
        me = threading.get_ident()
        return me == self._here_ident or (self.thread is not None and self.thread.ident == me)

    def stop(self, join_seconds: float) -> None:
        """Stop the loop once its tasks have ended, and wait for that at most *join_seconds*."""
        stop, loop, thread = self._stop, self._loop, self.thread
        if stop is not None and loop is not None and thread is not None and thread.is_alive():
            self._loop = None
            # Tasks are not cancelled: a task that hangs ends with the process.
            loop.call_soon_threadsafe(stop)
            join(thread, join_seconds)


def _cancelled() -> Exception:
    """Return the error for a provider that was cancelled, but not by its caller."""
    from concurrent.futures import CancelledError

    return CancelledError()


@contextmanager
def _outside_of_loops() -> Iterator[None]:
    """Hide the calling thread's event loop from asyncio and anyio."""
    from asyncio import events

    running = events._get_running_loop()  # noqa: SLF001 - meant for implementations of event loops
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
            starting.has_served = True

        anyio.run(serve, backend="asyncio")
    except BaseException as error:
        # To end its executor, asyncio starts a thread. Python 3.12 refuses that at exit, where it
        # has ended the executor's threads itself.
        if starting.has_served and isinstance(error, RuntimeError):
            return
        if starting.done.is_set():
            raise
        starting.error = error  # otherwise the callers of start() would wait forever
        starting.done.set()


_loop = _PortalLoop()
renew_after_fork(_loop)
# An idle loop stops well within this time. A busy one ends with the process.
atexit.register(_loop.stop, 0.2)
