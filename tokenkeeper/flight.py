"""One renewal in flight: a result that threads and event loops can wait on.

Threads wait on the flight itself. Tasks share one event for each event loop, so five thousand of
them park no thread and cost one wake-up. A waiter that gives up leaves no trace.
"""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import anyio
from anyio.lowlevel import current_token

from tokenkeeper.exceptions import OAuth2Error, own_copy

__all__ = ["Flight"]

T = TypeVar("T")


class Flight(Generic[T]):
    """A renewal that is under way, and its result. Thread-safe, used once.

    :ivar began: the keeper's count when its latest request left; infinite before the first. A
        caller that wants a token granted after some moment goes by it.
    """

    def __init__(self) -> None:
        self.began: float = math.inf
        self._wanted_until = -math.inf
        self._landed: Future[T] = Future()
        self._lock = threading.Lock()  # guards _loops
        self._loops: dict[object, anyio.Event] = {}

    def join(self, deadline: float) -> None:
        """Say that somebody waits until *deadline*. Called with the keeper's lock held."""
        self._wanted_until = max(self._wanted_until, deadline)

    def is_wanted_at(self, moment: float) -> bool:
        """Say whether somebody will still wait at *moment*."""
        return moment <= self._wanted_until

    # Two may land a flight: the worker that flies it, and close(), which waits for no server.
    # The first one counts.

    def succeed(self, result: T) -> None:
        """Land with *result*, unless it has landed already."""
        with suppress(InvalidStateError):
            self._landed.set_result(result)

    def fail(self, error: OAuth2Error) -> None:
        """Land with *error*, unless it has landed already."""
        with suppress(InvalidStateError):
            self._landed.set_exception(error)

    def result(self) -> T:
        """Return the result, or raise the failure as an object of the caller's own.

        Only for a flight that has landed.
        """
        error = self._landed.exception(timeout=0)
        if error is not None:
            raise own_copy(cast(OAuth2Error, error))
        return self._landed.result(timeout=0)

    def wait(self, timeout: float | None) -> bool:
        """Block the calling thread until it lands; ``False`` after *timeout* seconds."""
        try:
            self._landed.exception(timeout)
        except TimeoutError:
            return False
        return True

    @property
    def landed(self) -> bool:
        """Whether there is a result."""
        return self._landed.done()

    async def wait_async(self) -> None:
        """Suspend the calling task until it lands."""
        if self._landed.done():
            return
        loop: Any = current_token().native_token
        with self._lock:
            event = self._loops.get(loop)
            first = event is None
            if event is None:
                event = self._loops[loop] = anyio.Event()
        if first:
            self._landed.add_done_callback(lambda _: _set_soon(loop, event))
        await event.wait()


def _set_soon(loop: Any, event: anyio.Event) -> None:
    # anyio.from_thread.run_sync() would wait until the loop has run it, and a loop that is stuck
    # would then hold up everybody who waits for this flight. Both backends have a call that
    # only leaves a note.
    call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    with suppress(RuntimeError):  # the loop ended, and its waiters with it
        call_soon(event.set)
