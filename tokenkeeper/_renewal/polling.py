"""Polls a server until a person has approved a sign-in elsewhere (RFC 8628 §3.5, CIBA §10.1).

Everyone who waits for one sign-in takes part: each waits in its own thread or task until a poll is
due, and the first one there makes it. So no worker of the keeper is parked, one poll is made at a
time, and a waiter that gives up leaves nothing behind that another would have to take over.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Generic, TypeVar

from tokenkeeper._renewal.flight import Flight
from tokenkeeper._runtime.open_waits import OpenWaits
from tokenkeeper._runtime.waiting import InterruptibleEvent
from tokenkeeper.clock import Clock, instant
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
    TokenWaitTimeoutError,
)
from tokenkeeper.oauth.pending_answers import (
    BEGIN_AGAIN,
    SHORTEST_INTERVAL_SECONDS,
    Interval,
    final_error,
)
from tokenkeeper.retry import as_oauth2_error, is_interruption, is_transient

__all__ = ["Polling"]

T = TypeVar("T")


class Polling(Generic[T]):
    """The polls of one sign-in. Thread-safe.

    The first poll follows after one interval, since no person is faster. The interval is counted
    from the answer of a poll to the next request: a server that measures between requests sees at
    least that, however long each one was under way.

    :param provider_name: the provider, for messages.
    :param interval_seconds: the interval that the server stated.
    :param expires_at: when the code expires, in seconds since the epoch.
    :param next_interval: returns the interval after an error that means "not yet", and ``None`` for
        any other one, given the error and the interval so far.
    :param failed: called once with the error that ends the polls, unless :meth:`fail` gave it.
    :param open_waits: the waits that end when the keeper closes.
    :param clock: the source of time.
    """

    def __init__(
        self,
        provider_name: str,
        *,
        interval_seconds: float,
        expires_at: float,
        next_interval: Callable[[TokenAcquisitionError, float], float | None],
        failed: Callable[[OAuth2Error], object],
        open_waits: OpenWaits,
        clock: Clock,
    ) -> None:
        now = instant(clock)
        interval = max(SHORTEST_INTERVAL_SECONDS, interval_seconds)
        self._provider_name = provider_name
        self._next_interval = next_interval
        self._failed = failed
        self._open_waits = open_waits
        self._clock = clock
        # On the clock that can't be set: the code expires when it does, whatever the wall says.
        self._ends_at = now.monotonic + (expires_at - now.wall)
        self._process = os.getpid()
        self._outcome: Flight[T] = Flight()
        self._ended = InterruptibleEvent()
        self._lock = threading.Lock()  # guards the four below
        self._interval = Interval(interval)
        self._next_at = now.monotonic + interval
        self._is_polling = False
        self._has_failed = False

    @property
    def is_over(self) -> bool:
        """Whether there is a token or a final error."""
        return self._outcome.is_settled

    def wait(self, poll: Callable[[], T], timeout: float | None = None) -> T:
        """Poll in this thread until there is a token, and return it. May be called again.

        :param poll: makes one request, without a retry.
        :param timeout: how many seconds to wait; ``None``, the default, until the code expires. A
            request that is under way is not broken off.
        :raises AuthorizationRequiredError: if the person denied the request, or the code expired.
        :raises TokenWaitTimeoutError: after *timeout* seconds.
        :raises KeeperClosedError: if the keeper was closed.
        :raises OAuth2Error: what a poll raised that no other poll can change, or :meth:`fail` was
            given.
        """
        gives_up_at = self._gives_up_at(timeout)
        with self._open_waits.listed(self._close):
            while (seconds := self._pause(gives_up_at)) is not None:
                if seconds > 0:
                    self._clock.wait(self._ended, seconds)
                else:
                    self._poll_if_due(poll)
        return self._outcome.result()

    async def wait_async(
        self,
        poll: Callable[[], T],
        off_loop: Callable[[Callable[[], None]], Awaitable[None]],
        timeout: float | None = None,
    ) -> T:
        """Do the same in a task.

        :param off_loop: calls a blocking function on a thread.
        """
        import anyio  # tasks come here by the facade, which has imported it

        gives_up_at = self._gives_up_at(timeout)
        with self._open_waits.listed(self._close):
            while (seconds := self._pause(gives_up_at)) is not None:
                if seconds > 0:
                    with anyio.move_on_after(seconds):
                        await self._outcome.wait_async()
                else:
                    # All of it on that thread: it goes on if this task is cancelled meanwhile.
                    await off_loop(partial(self._poll_if_due, poll))
        return self._outcome.result()

    def fail(self, error: OAuth2Error) -> None:
        """End all waits with *error*, unless there is an outcome already. Idempotent."""
        if os.getpid() == self._process:  # a fork may have left the locks held in the child
            self._outcome.fail(error)
            self._ended.set()

    def _close(self) -> None:
        self.fail(KeeperClosedError("the keeper was closed during this sign-in"))

    def _give_up(self, error: OAuth2Error) -> None:
        """End all waits with *error*, and report it once."""
        with self._lock:
            is_first, self._has_failed = not self._has_failed, True
        if is_first:
            self._failed(error)
        self.fail(error)

    def _gives_up_at(self, timeout: float | None) -> float:
        return math.inf if timeout is None else self._clock.monotonic() + timeout

    def _pause(self, gives_up_at: float) -> float | None:
        """Return how long to wait: 0 if a poll is due, and ``None`` if there is an outcome."""
        self._check_process()
        if self._open_waits.is_over:
            self._close()
        now = self._clock.monotonic()
        with self._lock:
            if self._outcome.is_settled:
                return None
            # A poll that is under way wakes all who wait if it is the last.
            look_at = now + self._interval.seconds if self._is_polling else self._next_at
            expires = not self._is_polling and look_at >= self._ends_at
        if expires:
            self._give_up(self._expired(is_early=now < self._ends_at))
            return None
        if look_at <= now:
            return 0.0
        if now >= gives_up_at:
            raise self._timed_out()
        return min(look_at, gives_up_at) - now

    def _poll_if_due(self, poll: Callable[[], T]) -> None:
        """Make a poll, unless another thread does, or just did."""
        is_mine = False
        try:
            with self._lock:
                is_due = self._clock.monotonic() >= self._next_at
                if self._is_polling or not is_due or self._outcome.is_settled:
                    return
                self._is_polling = is_mine = True
            self._finish(poll)
        finally:  # also if a signal interrupts the poll: then another one follows
            if is_mine:
                with self._lock:
                    self._is_polling = False
                    self._next_at = self._clock.monotonic() + self._interval.wait_seconds

    def _finish(self, poll: Callable[[], T]) -> None:
        """Make a poll, and note what its answer means. Its caller is alone with it."""
        try:
            token = poll()
        except OAuth2Error as error:
            self._note(error)
        except BaseException as error:
            if not is_transient(error) or is_interruption(error):
                # Perhaps a signal, after the server had granted the token.
                self._interval = replace(self._interval, lost_answer=True)
                raise
            self._note(as_oauth2_error(error, self._provider_name))  # a function of the user's
        else:
            self._outcome.succeed(token)
            self._ended.set()

    def _note(self, error: OAuth2Error) -> None:
        """Note what *error*, that of a poll, means for the next one."""
        if not isinstance(error, TokenAcquisitionError):
            self._give_up(error)
            return
        asked = self._next_interval(error, self._interval.seconds)
        interval = self._interval.after(error, asked)
        if interval is None:
            self._give_up(final_error(error, self._interval))
        else:
            self._interval = interval

    def _check_process(self) -> None:
        """Raise in a forked child: two processes must not poll with one code."""
        if os.getpid() != self._process:
            raise TokenAcquisitionError(
                f"provider {self._provider_name!r}: the process that began this sign-in waits for "
                "it, and this one was forked from it. Wait before the fork, or share tokens "
                "through a store: TokenKeeper(store=...).",
                provider_name=self._provider_name,
                transient=False,
            )

    def _expired(self, *, is_early: bool) -> AuthorizationRequiredError:
        """Return the error for a code that the person did not approve in time.

        :param is_early: whether it expires before the next poll, but has not yet.
        """
        when = "expires before the next poll" if is_early else "has expired"
        return AuthorizationRequiredError(
            f"provider {self._provider_name!r}: the request to sign in {when}, and was not "
            f"approved. {BEGIN_AGAIN}",
            provider_name=self._provider_name,
            error="expired_token",
            transient=False,
        )

    def _timed_out(self) -> TokenWaitTimeoutError:
        return TokenWaitTimeoutError(
            f"provider {self._provider_name!r}: the request to sign in was not approved within "
            "the timeout of this call. Call wait() again, as long as it has not expired.",
            provider_name=self._provider_name,
            transient=True,
        )
