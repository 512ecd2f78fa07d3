"""Queues of what hooks and subscribers are to receive; one thread at a time delivers each."""

from __future__ import annotations

import logging
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial
from typing import Generic, TypeVar

from tokenkeeper._runtime.interruptions import interruption_in

__all__ = ["MAX_PENDING", "DeliveryQueue"]

T = TypeVar("T")

_log = logging.getLogger("tokenkeeper.events")

MAX_PENDING = 1000
"""How many items wait for one hook at most. Beyond that the oldest are dropped and counted: once a
hook goes on, it should learn what is recent."""


class DeliveryQueue(Generic[T]):
    """What is pending for one hook or subscriber. One thread at a time delivers it.

    :param name: what log lines call the hook.
    """

    def __init__(self, hook: Callable[[T], object], name: str) -> None:
        self._hook = hook
        self._name = name
        self.clear()

    def clear(self) -> None:
        """Start over, with nothing pending."""
        self._pending: deque[tuple[Context, T]] = deque()
        self._deliverer: dict[str, object] = {}
        self.dropped = 0
        self._warned_at = 0  # what `dropped` was when the last warning was due

    def end(self) -> None:
        """Call the hook no more, also for what is pending."""
        self._hook = lambda _: None

    def put(self, item: T) -> None:
        """Queue *item*; drop the oldest one if there are too many. Called with the lock held."""
        if len(self._pending) >= MAX_PENDING:
            with suppress(IndexError):  # the deliverer has just taken the last one
                self._pending.popleft()
                self.dropped += 1
        self._pending.append((copy_context(), item))

    @property
    def is_waiting(self) -> bool:
        """Whether something is pending that no thread delivers.

        A deliverer that is about to leave looks once more after it has given up its place.
        """
        return bool(self._pending) and "now" not in self._deliverer

    def deliver(self, failures: type[BaseException] = Exception) -> None:
        """Call the hook until nothing is pending, or leave that to the thread that does so already.

        :param failures: what the hook may raise without harm.
        """
        me = object()
        while self._pending:
            try:  # before the claim: a signal's exception must not leave a deliverer that is gone
                if self._deliverer.setdefault("now", me) is not me:
                    return
                self._deliver_pending(failures)
            finally:
                # Not so if an exception struck before the claim, or a fork emptied the queue.
                if self._deliverer.get("now") is me:  # pragma: no branch
                    del self._deliverer["now"]

    def deliver_all_of_it(self) -> None:
        """Do :meth:`deliver` on a thread of the keeper, which no exception may end."""
        self.deliver(BaseException)

    def _deliver_pending(self, failures: type[BaseException]) -> None:
        handled_before = sys.exception()
        while self._pending:
            context, item = self._pending.popleft()
            try:
                context.run(self._hook, item)
            except failures as error:
                if failures is Exception and (struck := interruption_in(error, handled_before)):
                    raise struck  # noqa: B904 - the host stops this thread, not the hook
                _log.exception("%s failed at %s", self._name, type(item).__name__)

    # ---- a queue that is full

    def take_warning(self) -> Callable[[], None] | None:
        """Return a function that logs the dropped events, if due: at 1, 10, 100, 1000, ..."""
        dropped = self.dropped
        if dropped == 0 or dropped < 10 * self._warned_at:
            return None
        self._warned_at = dropped
        return partial(
            _log.warning,
            "%s is too slow or hangs: %d events were dropped, the oldest first",
            self._name,
            dropped,
        )
