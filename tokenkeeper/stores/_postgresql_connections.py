"""A few connections to PostgreSQL, none of which makes a caller wait past its deadline.

``psycopg_pool`` keeps its connections open and has threads of its own. Here, a connection that was
idle for :data:`IDLE_SECONDS` is closed, so that ten thousand processes that each renew a token once
an hour need a few dozen connections, and no thread is left while none is open.

Resolving a name, connecting and TLS can't be interrupted. So a thread of its own opens a
connection; a caller that no longer waits leaves it to the next one.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from tokenkeeper._runtime.fork import renew_after_fork
from tokenkeeper._support.hiding import forget_frames
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.exceptions import StoreUnavailableError, own_copy
from tokenkeeper.stores._postgresql_session import Session

__all__ = ["Connections", "TimedOutError"]

IDLE_SECONDS = 10.0
"""How long an unused connection stays open. It is longer than a usual token request."""

LIMIT = 4
"""How many connections a process has at most. More threads take turns."""

LOST_SECONDS = 10.0
"""How long after an operation's deadline its connection is considered lost."""

CANCEL_SECONDS = 2.0
"""How long the cancellation of an abandoned statement may take, on a thread of its own."""

_inherited: list[object] = []
"""What a forked child inherited. Closing it, even by collecting garbage, would tell the server to
end the session of the parent."""


class TimedOutError(Exception):
    """The deadline passed before there was a connection, or an answer."""


class Connections:
    """Opens, lends and closes connections. Thread-safe, and usable after a fork.

    :param connect: returns a new connection; called on a thread of its own.
    :param explain: returns the error to raise for one that *connect* raised.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        explain: Callable[[BaseException], StoreUnavailableError],
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._start()
        renew_after_fork(self)

    def _start(self) -> None:
        lock = threading.Lock()  # guards everything below
        self._changed = threading.Condition(lock)  # a caller may have a connection now
        self._closing = threading.Condition(lock)  # none is idle any more
        self._idle: list[Session] = []  # the one used last is at the end
        self._open: set[Session] = set()  # lent ones too
        self._waiting = 0
        self._opening: set[object] = set()  # one for each attempt to connect
        self._failures = 0
        self._failure: StoreUnavailableError | None = None
        self._cancelling = False
        self._has_closer = False

    def after_fork_in_child(self) -> None:
        """Leave the parent's connections alone, for ever."""
        _inherited.extend(self._open)
        self._start()

    def take(self, deadline: float) -> Session:
        """Lend a connection to the caller, which must pass it to one of the methods below.

        :param deadline: when to give up, on the monotonic clock.
        :raises TimedOutError: if there was none until then.
        :raises StoreUnavailableError: if none is open, and none can be opened.
        """
        with self._changed:
            self._waiting += 1
            try:
                return self._wait_for_one(deadline)
            finally:
                self._waiting -= 1

    def _wait_for_one(self, deadline: float) -> Session:
        failures, has_tried = self._failures, False
        while True:
            while self._idle:
                session = self._idle.pop()
                if session.is_usable:
                    session.lent_until = deadline
                    return session
                self._discard(session)
            # With one open, its turn comes: the server may just have too many connections.
            if self._failures != failures and not self._open and self._failure is not None:
                raise own_copy(self._failure)
            self._forget_lost_ones()
            all_of_them = len(self._open) + len(self._opening)
            is_short = len(self._opening) < self._waiting and all_of_them < LIMIT
            if is_short and not (has_tried and all_of_them):
                has_tried = True
                self._start_opening()
                continue
            remaining = deadline - SYSTEM_CLOCK.monotonic()
            if remaining <= 0:
                raise TimedOutError
            self._changed.wait(remaining)

    def _start_opening(self) -> None:
        """Open a connection on a thread. Called with the lock held."""
        attempt = object()
        try:
            self._opening.add(attempt)
            if _in_thread(lambda: self._open_one(attempt)):
                return
        except BaseException:  # such as Ctrl-C, which must not leave the attempt behind
            self._opening.discard(attempt)
            raise
        # No thread starts any more, as when the interpreter exits.
        self._changed.release()
        try:
            self._open_one(attempt)
        finally:
            self._changed.acquire()

    def _forget_lost_ones(self) -> None:
        """Forget connections that were never given back. Called with the lock held.

        An exception that a signal raises, such as Celery's soft time limit, may strike between any
        two steps of an operation. Such a connection is closed when it is garbage.
        """
        given_up = SYSTEM_CLOCK.monotonic() - LOST_SECONDS
        lent = self._open.difference(self._idle)
        self._open -= {session for session in lent if session.lent_until < given_up}

    def _open_one(self, attempt: object) -> None:
        session = None
        failure = StoreUnavailableError("connecting to PostgreSQL was interrupted")
        try:
            connection = self._connect()
            if connection.pgconn.transaction_status != TransactionStatus.IDLE:
                connection.close()
                raise StoreUnavailableError(
                    "connect returned a connection with an open transaction: set autocommit=True",
                    is_misconfigured=True,
                )
            session = Session(connection)
        except StoreUnavailableError as error:
            failure = error
        except Exception as error:  # noqa: BLE001 - whatever it is, the callers raise it
            failure = self._explain(error)
            forget_frames(error)  # they have the password
        finally:
            with self._changed:
                is_wanted = attempt in self._opening or self._waiting
                self._opening.discard(attempt)
                if session is None:
                    self._failures += 1
                    self._failure = failure
                else:
                    self._open.add(session)
                    if is_wanted:
                        self._add_idle(session)
                    else:
                        self._discard(session)  # closed meanwhile
                self._changed.notify_all()

    def give_back(self, session: Session) -> None:
        """Keep a connection that works for the next caller."""
        session.was_used = True
        session.idle_since = SYSTEM_CLOCK.monotonic()
        with self._changed:
            is_idle = session.connection.pgconn.transaction_status == TransactionStatus.IDLE
            if is_idle and session in self._open:
                self._add_idle(session)
            else:
                self._discard(session)
            self._changed.notify()

    def drop(self, session: Session) -> None:
        """Close a connection that no longer works, and the idle ones, which are older."""
        with self._changed:
            while self._idle:
                self._discard(self._idle.pop())
            self._discard(session)
            self._changed.notify_all()

    def abandon(self, session: Session) -> None:
        """Close a connection whose statement has no answer yet, and cancel the statement.

        Otherwise a statement that waits for a lock would keep its server process, and would be
        performed later. Before version 17, libpq can cancel only by waiting for the server without
        a limit, and psycopg stops all threads meanwhile. So nothing is cancelled then.
        """
        with self._changed:
            may_cancel = not self._cancelling and session in self._open and can_cancel()
            if may_cancel:
                self._cancelling = True
        if not (may_cancel and _in_thread(lambda: self._cancel(session))):
            self.drop(session)

    def _cancel(self, session: Session) -> None:
        try:
            session.connection.cancel_safe(timeout=CANCEL_SECONDS)
        except Exception:  # noqa: BLE001, S110 - the server can't be reached, which is known
            pass
        finally:
            with self._changed:
                self._cancelling = False
                self._discard(session)
                self._changed.notify_all()

    def close(self) -> None:
        """Close the idle connections. A lent one is closed soon after it is given back."""
        with self._changed:
            self._opening.clear()
            while self._idle:
                self._discard(self._idle.pop())
            self._closing.notify()

    def _add_idle(self, session: Session) -> None:
        self._idle.append(session)
        if not self._has_closer:
            self._has_closer = _in_thread(self._close_idle)

    def _close_idle(self) -> None:
        """Close connections that nothing uses any more; return when none is idle."""
        with self._changed:
            while self._idle:
                idle = SYSTEM_CLOCK.monotonic() - self._idle[0].idle_since
                if idle >= IDLE_SECONDS:
                    self._discard(self._idle.pop(0))
                else:
                    self._closing.wait(IDLE_SECONDS - idle)
            self._has_closer = False

    def _discard(self, session: Session) -> None:
        """Close a connection, unless it is the parent's. Called with the lock held."""
        self._open.discard(session)
        if session.pid == os.getpid():
            session.connection.close()  # sends a short goodbye without waiting


def can_cancel() -> bool:
    """Return whether libpq can cancel a statement without blocking."""
    return psycopg.capabilities.has_cancel_safe()


def _in_thread(job: Callable[[], None]) -> bool:
    """Start a thread for *job*; return whether that was possible."""
    try:
        threading.Thread(target=job, name="tokenkeeper-store", daemon=True).start()
    except RuntimeError:  # too many threads, or the interpreter exits
        return False
    return True
