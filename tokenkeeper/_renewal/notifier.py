"""Delivers events: to the log, and to the hooks that users give."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from contextvars import Context, copy_context
from functools import partial

from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper._support.escaping import escaped
from tokenkeeper.events import (
    EventHook,
    RenewalFailed,
    TokenDenied,
    TokenEvent,
    TokenGranted,
    TokenRejected,
    TokenRenewed,
)
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["Notifier", "write_log_line"]

_log = logging.getLogger("tokenkeeper.events")

MAX_PENDING_EVENTS = 1000
"""How many events wait for one hook at most. Beyond that the oldest are dropped and counted: once
a hook goes on, it should report recent events."""


LOGGED_EVENTS = (TokenGranted, TokenDenied, TokenRejected)
"""The events that :func:`write_log_line` writes a line for."""


class Notifier:
    """Delivers events to hooks and isolates their failures. Thread-safe.

    Events are queued where they happen and delivered later, without a lock. Each hook has a queue
    and, while it works, its own thread: a hook that is slow or hangs delays no caller, no
    event loop, no renewal, no other hook and no log line.

    :param hand_over: makes a call on another thread; returns ``False`` if there is none. Then the
        hooks are called on the thread that reports the event.
    :raises InvalidConfigurationError: if one of *hooks* can't be called.
    """

    def __init__(
        self, hooks: Iterable[EventHook], hand_over: Callable[[Callable[[], None]], bool]
    ) -> None:
        self._hand_over = hand_over
        self._log_lines = _Queue(write_log_line)
        self._queues: list[_Queue] = []
        for hook in hooks:
            self.add(hook)

    def add(self, hook: EventHook) -> None:
        """Deliver events to *hook* as well from now on.

        :raises InvalidConfigurationError: if it can't be called.
        """
        if not callable(hook):
            raise InvalidConfigurationError(
                f"a hook must be callable with one event; {type(hook).__name__} is not.",
                field="hooks",
            )
        self._queues.append(_Queue(hook))

    @property
    def dropped(self) -> int:
        """How many events were dropped so far because a queue was full, over all hooks."""
        return sum(queue.dropped for queue in (self._log_lines, *self._queues))

    def enqueue(self, *events: TokenEvent) -> None:
        """Queue *events* for the next :meth:`deliver`, each in the caller's context.

        Called with the keeper's lock held, so they are queued in the order in which they happened.
        """
        for event in events:
            if isinstance(event, LOGGED_EVENTS):
                self._log_lines.put(event)
            for queue in self._queues:
                queue.put(event)

    def deliver(self, *, log_here: bool = False) -> None:
        """Have each hook called with its pending events; return before that is done.

        :param log_here: write log lines on this thread. It is the keeper's own, and no caller waits
            for it.
        """
        if not log_here:
            self._deliver_queue(self._log_lines)
        for queue in list(self._queues):
            self._deliver_queue(queue)
            warn = queue.take_warning()
            if warn is not None and not self._hand_over(warn):
                warn()
        if log_here:
            self._log_lines.deliver()

    def _deliver_queue(self, queue: _Queue) -> None:
        if queue.is_waiting and not self._hand_over(queue.deliver_all_of_it):
            queue.deliver()

    def after_fork_in_child(self) -> None:
        """Leave pending events to the parent."""
        for queue in (self._log_lines, *self._queues):
            queue.clear()


class _Queue:
    """The events that are pending for one hook. One thread at a time delivers them."""

    def __init__(self, hook: EventHook) -> None:
        self._hook = hook
        self.clear()

    def clear(self) -> None:
        """Start over, with nothing pending."""
        self._pending: deque[tuple[Context, TokenEvent]] = deque()
        self._deliverer: dict[str, object] = {}
        self.dropped = 0
        self._warned_at = 0  # what `dropped` was when the last warning was due

    def put(self, event: TokenEvent) -> None:
        """Queue *event*; drop the oldest one if there are too many. Called with the lock held."""
        if len(self._pending) >= MAX_PENDING_EVENTS:
            with suppress(IndexError):  # the deliverer has just taken the last one
                self._pending.popleft()
                self.dropped += 1
        self._pending.append((copy_context(), event))

    @property
    def is_waiting(self) -> bool:
        """Whether events are pending that no thread delivers.

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
            context, event = self._pending.popleft()
            try:
                context.run(self._hook, event)
            except failures as error:
                if failures is Exception and (struck := interruption_in(error, handled_before)):
                    raise struck  # noqa: B904 - the host stops this thread, not the hook
                _log.exception("a hook failed at %s", type(event).__name__)

    # ---- a queue that is full

    def take_warning(self) -> Callable[[], None] | None:
        """Return a function that logs the dropped events, if due: at 1, 10, 100, 1000, ..."""
        dropped = self.dropped
        if dropped == 0 or dropped < 10 * self._warned_at:
            return None
        self._warned_at = dropped
        name = getattr(self._hook, "__qualname__", type(self._hook).__name__)
        return partial(
            _log.warning,
            "the hook %s is too slow or hangs: %d events were dropped, the oldest first",
            name,
            dropped,
        )


def write_log_line(event: TokenEvent) -> None:
    """Log one line for a token that was granted or not, and for each pause after rejections.

    The record has the event's fields as attributes, ready for JSON: ``occurred_at`` is ISO 8601.
    Its ``event_name`` is the name of the event's class; structlog uses ``event`` for the message.
    """
    match event:
        case TokenGranted():
            what = "renewed" if isinstance(event, TokenRenewed) else "acquired"
            level, line = logging.INFO, f"provider {event.provider_name!r}: token {what}"
        case TokenDenied():
            what = "not renewed" if isinstance(event, RenewalFailed) else "not acquired"
            level, line = logging.WARNING, f"token {what}: {event.reason}"
            if event.provider_name not in line:  # perhaps the error of a custom provider
                line = f"provider {event.provider_name!r}: {line}"
        case TokenRejected():
            level = logging.WARNING
            line = (
                f"provider {event.provider_name!r}: an API rejects newly granted tokens "
                f"({event.tokens} in a row). For {event.pause_seconds:.0f} s, its rejections cause "
                "no token request"
            )
        case _:
            return
    if _log.isEnabledFor(level):
        fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
        fields["occurred_at"] = event.occurred_at.isoformat()
        _log.log(level, "%s", escaped(line), extra={"event_name": type(event).__name__, **fields})
