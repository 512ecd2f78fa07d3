"""Requests under way at the end of a process: waited for if they work once, and else given up.

Workers are daemon threads, so the interpreter ends while they wait for a server. A rotated refresh
token would be lost with the response. ``atexit`` runs before that; nothing runs after a signal that
Python does not handle, such as SIGTERM by default, nor after ``os._exit``.

A request that can be repeated is lost without harm. Its claim is released, or other processes would
wait until it is old enough to be taken over.
"""

from __future__ import annotations

import atexit
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from tokenkeeper._renewal.unpublished import RETRY_SECONDS, Unpublished
from tokenkeeper._runtime.fork import notice_fork
from tokenkeeper._runtime.waiting import InterruptibleEvent
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["OneTimeRequests", "finish_all"]

PUBLISH_SECONDS = 5.0
"""How long the end of a process waits beyond the longest request, and for a store that can't be
used."""


class _Entry(NamedTuple):
    ends_at: float
    thread: int
    done: threading.Event


class OneTimeRequests:
    """Knows the requests of one keeper that are under way. Thread-safe.

    :param clock: measures how long the end waits. It is not the keeper's, which may stand still.
    :param outlives: whether what they bring outlives the process; ``True`` by default. Otherwise
        none is waited for: it would be lost in any case.
    """

    def __init__(
        self, unpublished: Unpublished, clock: Clock = SYSTEM_CLOCK, *, outlives: bool = True
    ) -> None:
        self._unpublished = unpublished
        self._outlives = outlives
        self._clock = clock
        self.after_fork_in_child()
        _all.add(self)

    def after_fork_in_child(self) -> None:
        """Leave those under way to the parent."""
        self._lock = threading.Lock()  # guards the three below
        self._entries: set[_Entry] = set()
        self._releases: dict[object, Callable[[], None]] = {}
        self._ended = False

    @contextmanager
    def under_way(
        self, provider: BaseOAuth2Provider, release: Callable[[], None]
    ) -> Iterator[None]:
        """Have the end of the process wait for what runs inside, if *provider* can't repeat it.

        It waits at most for the provider's longest request and five seconds.

        :param release: called instead at the end if *provider* can repeat it; raises nothing.
        :raises TokenAcquisitionError: if the end has begun, and *provider* can't repeat it.
        """
        if provider.repeatable or not self._outlives:
            mark = object()
            with self._lock:
                self._releases[mark] = release
            try:
                yield
            finally:
                with self._lock:
                    self._releases.pop(mark, None)
            return
        ends_at = self._clock.monotonic() + provider.longest_request_seconds + PUBLISH_SECONDS
        entry = _Entry(ends_at, threading.get_ident(), InterruptibleEvent())
        with self._lock:
            if self._ended:
                raise _ending(provider.provider_name)
            self._entries.add(entry)
        try:
            yield
        finally:
            with self._lock:
                self._entries.discard(entry)
            entry.done.set()

    def end(self) -> None:
        """Let no further request begin."""
        notice_fork()
        with self._lock:
            self._ended = True

    def finish(self) -> None:
        """Let no further request begin; wait until the ones under way are answered and stored.

        Those that can be repeated are given up.

        An exception that is raised meanwhile, such as ``KeyboardInterrupt``, ends the wait. A
        request of the calling thread itself is not waited for.
        """
        self.end()
        with self._lock:
            entries, releases = list(self._entries), list(self._releases.values())
            self._releases.clear()
        for release in releases:
            release()
        for entry in entries:
            remaining = entry.ends_at - self._clock.monotonic()
            if remaining > 0 and entry.thread != threading.get_ident():
                self._clock.wait(entry.done, remaining)
        never = InterruptibleEvent()
        give_up_at = self._clock.monotonic() + PUBLISH_SECONDS
        while not self._unpublished.store_all() and self._clock.monotonic() < give_up_at:
            self._clock.wait(never, RETRY_SECONDS)


_all: weakref.WeakSet[OneTimeRequests] = weakref.WeakSet()


@atexit.register
def finish_all() -> None:
    """Wait for the requests of all keepers, also of those that were dropped meanwhile."""
    with suppress(KeyboardInterrupt):
        requests = list(_all)
        for each in requests:
            each.end()
        for each in requests:
            each.finish()


def _ending(name: str) -> TokenAcquisitionError:
    return TokenAcquisitionError(
        f"provider {name!r}: the keeper or the process is ending. Its refresh token, which works "
        "once, is no longer used.",
        provider_name=name,
        transient=True,
    )
