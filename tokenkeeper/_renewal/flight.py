"""One renewal in flight: a result that threads and event loops can wait on.

Threads wait on the flight itself. Tasks share one event for each event loop, so five thousand of
them park no thread and cost one wake-up. A waiter that gives up leaves no trace, also one whose
wait ends with an exception that a signal handler raised (Ctrl-C, Celery's soft time limit). Such
an exception can strike between any two lines of Python, even inside :mod:`threading`'s conditions
and events, and leave their locks held for ever. Only bare locks are safe from it.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from tokenkeeper._runtime.waiting import wait_for_gate
from tokenkeeper.exceptions import OAuth2Error, own_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    import anyio

__all__ = ["Flight"]

T = TypeVar("T")


class Flight(Generic[T]):
    """A renewal that is under way, and its result. Thread-safe, used once.

    :ivar began: the keeper's count when its latest request left; infinite before the first. A
        caller that wants a token granted after some moment goes by it.
    :ivar interrupted: whether the host stopped the thread that flew it, by an exception that says
        nothing about the token.
    """

    def __init__(self) -> None:
        self.began: float = math.inf
        self.interrupted = False
        self._wanted_until = -math.inf
        self._runner = threading.Lock()  # held for good by who flies it
        self._lock = threading.Lock()  # guards all of the below
        self._outcome: tuple[T | None, OAuth2Error | None] | None = None
        self._waiters: dict[object, Callable[[], None]] = {}  # how each is told
        self._loops: dict[object, anyio.Event] = {}

    def claim(self) -> bool:
        """Say whether the caller is the first to ask, and so the one to fly it."""
        return self._runner.acquire(blocking=False)

    def join(self, deadline: float) -> None:
        """Say that somebody waits until *deadline*. Called with the keeper's lock held."""
        self._wanted_until = max(self._wanted_until, deadline)

    def is_wanted_at(self, moment: float) -> bool:
        """Say whether somebody will still wait at *moment*."""
        return moment <= self._wanted_until

    def succeed(self, result: T) -> None:
        """Land with *result*, unless it has landed already."""
        self._land((result, None))

    def fail(self, error: OAuth2Error) -> None:
        """Land with *error*, unless it has landed already."""
        self._land((None, error))

    def _land(self, outcome: tuple[T | None, OAuth2Error | None]) -> None:
        # Two may land a flight: who flies it, and close(), which waits for no server.
        with self._lock:
            if self._outcome is None:
                self._outcome = outcome
            waiters, self._waiters = self._waiters, {}
        for tell in waiters.values():
            tell()

    @property
    def landed(self) -> bool:
        """Whether there is an outcome."""
        return self._outcome is not None

    def result(self) -> T:
        """Return the result, or raise the failure as an object of the caller's own.

        Only for a flight that has landed.
        """
        result, error = cast("tuple[T, OAuth2Error | None]", self._outcome)
        if error is not None:
            raise own_copy(error)
        return result

    def wait(self, timeout: float | None) -> bool:
        """Block the calling thread until it lands; ``False`` after *timeout* seconds."""
        gate = threading.Lock()
        gate.acquire()  # released when the flight lands, and no sooner
        if self._enlist(gate, gate.release):
            try:
                wait_for_gate(gate, timeout)
            finally:
                with self._lock:
                    self._waiters.pop(gate, None)
        return self.landed

    async def wait_async(self) -> None:
        """Suspend the calling task until it lands."""
        # Tasks come here by the facade, which has imported anyio; threads do without it.
        import anyio
        from anyio.lowlevel import current_token

        loop: Any = current_token().native_token
        with self._lock:
            event = self._loops.setdefault(loop, anyio.Event())
        if self._enlist(loop, partial(_set_soon, loop, event)):
            await event.wait()

    def _enlist(self, waiter: object, tell: Callable[[], None]) -> bool:
        """Have *tell* called when it lands; ``False`` if it has landed already."""
        with self._lock:
            if self._outcome is not None:
                return False
            self._waiters[waiter] = tell
            return True


def _set_soon(loop: Any, event: anyio.Event) -> None:
    # anyio.from_thread.run_sync() would wait until the loop has run it, and a loop that is stuck
    # would then hold up everybody who waits for this flight. Both backends have a call that
    # only leaves a note.
    call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    with suppress(RuntimeError):  # the loop ended, and its waiters with it
        call_soon(event.set)
