"""A result that threads and event loops can wait for while one of them produces it.

Threads wait on the flight itself. Tasks share one event for each event loop, so five thousand of
them block no thread and cost one wake-up. A waiter that gives up leaves no trace, even if an
exception that a signal handler raised ends its wait (Ctrl-C, Celery's soft time limit). Such an
exception can strike between any two lines of Python, even inside the conditions and events of
:mod:`threading`, and leave their locks held for ever. Only bare locks are safe from it.
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
    """A result under way that callers can join (single-flight). Thread-safe, used once.

    :ivar last_sent: the sequence number of its latest request; infinite before the first. It tells
        a caller that needs a newly granted token whether this one will do.
    :ivar interrupted: whether the host stopped the thread that ran it, by an exception that says
        nothing about the token.
    """

    def __init__(self) -> None:
        self.last_sent: float = math.inf
        self.interrupted = False
        self._wanted_until = -math.inf
        self._claimed = threading.Lock()  # acquired once, and never released
        self._lock = threading.Lock()  # guards all of the below
        self._outcome: tuple[T | None, OAuth2Error | None] | None = None
        self._waiters: dict[object, Callable[[], None]] = {}  # how to wake each
        self._loops: dict[object, anyio.Event] = {}

    def claim(self) -> bool:
        """Return ``True`` to the first caller only, which then runs it."""
        return self._claimed.acquire(blocking=False)

    @property
    def is_claimed(self) -> bool:
        """Whether a thread runs it, or ran it."""
        return self._claimed.locked()

    def join(self, deadline: float) -> None:
        """Note that a caller waits until *deadline*. Called with the keeper's lock held."""
        self._wanted_until = max(self._wanted_until, deadline)

    def is_wanted_at(self, moment: float) -> bool:
        """Return whether a caller will still be waiting at *moment*."""
        return moment <= self._wanted_until

    def succeed(self, result: T) -> None:
        """Settle it with *result*, unless it is settled already."""
        self._settle((result, None))

    def fail(self, error: OAuth2Error) -> None:
        """Settle it with *error*, unless it is settled already."""
        self._settle((None, error))

    def _settle(self, outcome: tuple[T | None, OAuth2Error | None]) -> None:
        # Two threads may settle it: the one that runs it, and close(), which waits for no server.
        with self._lock:
            if self._outcome is None:
                self._outcome = outcome
            waiters, self._waiters = self._waiters, {}
        for wake in waiters.values():
            wake()

    @property
    def is_settled(self) -> bool:
        """Whether there is an outcome."""
        return self._outcome is not None

    def result(self) -> T:
        """Return the result, or raise the failure as an object of the caller's own.

        Only for one that is settled.
        """
        result, error = cast("tuple[T, OAuth2Error | None]", self._outcome)
        if error is not None:
            raise own_copy(error)
        return result

    def wait(self, timeout: float | None) -> bool:
        """Block the calling thread until it is settled; ``False`` after *timeout* seconds."""
        gate = threading.Lock()
        gate.acquire()  # released when it is settled, and no sooner
        if self._enlist(gate, gate.release):
            try:
                wait_for_gate(gate, timeout)
            finally:
                with self._lock:
                    self._waiters.pop(gate, None)
        return self.is_settled

    async def wait_async(self) -> None:
        """Suspend the calling task until it is settled."""
        # Tasks come here by the facade, which has imported anyio; threads do without it.
        import anyio
        from anyio.lowlevel import current_token

        loop: Any = current_token().native_token
        with self._lock:
            event = self._loops.setdefault(loop, anyio.Event())
        if self._enlist(loop, partial(_set_soon, loop, event)):
            await event.wait()

    def _enlist(self, waiter: object, wake: Callable[[], None]) -> bool:
        """Have *wake* called when it is settled; ``False`` if it is already."""
        with self._lock:
            if self._outcome is not None:
                return False
            self._waiters[waiter] = wake
            return True


def _set_soon(loop: Any, event: anyio.Event) -> None:
    # anyio.from_thread.run_sync() would wait until the loop has run it, and a loop that is stuck
    # would then hold up every waiter of this flight. Both backends have a call that only leaves
    # a note.
    call_soon = getattr(loop, "call_soon_threadsafe", None) or loop.run_sync_soon
    with suppress(RuntimeError):  # the loop ended, and its waiters with it
        call_soon(event.set)
