"""Delivers events: to the log, and to the hooks that users give."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tokenkeeper._renewal.delivery import DeliveryQueue
from tokenkeeper._renewal.subscriptions import Subscriptions
from tokenkeeper._support.escaping import escaped
from tokenkeeper.events import (
    ClaimTakenOver,
    ClocksDisagree,
    EventHook,
    RecordReplaced,
    RenewalFailed,
    SignInCompleted,
    SignInEvent,
    SignInFailed,
    StoreRecovered,
    StoreUnavailable,
    TokenDenied,
    TokenEvent,
    TokenGranted,
    TokenRejected,
    TokenRenewed,
)
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["Notifier", "write_log_line"]

_log = logging.getLogger("tokenkeeper.events")

LOGGED_EVENTS = (
    *(TokenGranted, TokenDenied, TokenRejected, SignInEvent),
    *(ClaimTakenOver, ClocksDisagree, RecordReplaced, StoreRecovered, StoreUnavailable),
)
"""The events that :func:`write_log_line` writes a line for."""


class Notifier:
    """Delivers events to hooks, and tokens to subscribers; isolates their failures. Thread-safe.

    Events are queued where they happen and delivered later, without a lock. Each hook has a queue
    and, while it works, its own thread: a hook that is slow or hangs delays no caller, no
    event loop, no renewal, no other hook and no log line.

    :param hand_over: makes a call on another thread; returns ``False`` if there is none. Then the
        hooks are called on the thread that reports the event.
    :ivar subscriptions: guarded by the keeper's lock.
    :raises InvalidConfigurationError: if one of *hooks* can't be called.
    """

    def __init__(
        self, hooks: Iterable[EventHook], hand_over: Callable[[Callable[[], None]], bool]
    ) -> None:
        self._hand_over = hand_over
        self.subscriptions: Subscriptions = Subscriptions()
        self._log_lines = DeliveryQueue(write_log_line, "the log")
        self._hooks: list[tuple[EventHook, DeliveryQueue[TokenEvent]]] = []
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
        name = getattr(hook, "__qualname__", type(hook).__name__)
        self._hooks = [*self._hooks, (hook, DeliveryQueue(hook, f"the hook {name}"))]

    def remove(self, hook: EventHook) -> None:
        """Deliver nothing to *hook* from now on, not even what is pending."""
        for each, queue in self._hooks:
            if each == hook:
                queue.end()
        self._hooks = [each for each in self._hooks if each[0] != hook]

    @property
    def dropped(self) -> int:
        """How many events were dropped so far because a queue was full, over all hooks."""
        return sum(queue.dropped for queue in self._queues())

    def enqueue(self, *events: TokenEvent) -> None:
        """Queue *events* for the next :meth:`deliver`, each in the caller's context.

        Called with the keeper's lock held, so they are queued in the order in which they happened.
        """
        for event in events:
            if isinstance(event, LOGGED_EVENTS):
                self._log_lines.put(event)
            for _, queue in self._hooks:
                queue.put(event)

    def deliver(self, *, log_here: bool = False) -> None:
        """Have each hook called with its pending events; return before that is done.

        :param log_here: write log lines on this thread. It is the keeper's own, and no caller waits
            for it.
        """
        for queue in self._queues():
            if queue is self._log_lines and log_here:
                continue
            self._deliver_queue(queue)
            warn = queue.take_warning()
            if warn is not None and not self._hand_over(warn):
                warn()
        if log_here:
            self._log_lines.deliver()

    def _deliver_queue(self, queue: DeliveryQueue[Any]) -> None:
        if queue.is_waiting and not self._hand_over(queue.deliver_all_of_it):
            queue.deliver()

    def after_fork_in_child(self) -> None:
        """Leave pending events to the parent."""
        self.subscriptions.after_fork_in_child()
        for queue in self._queues():
            queue.clear()

    def _queues(self) -> Iterator[DeliveryQueue[Any]]:
        yield self._log_lines
        for _, queue in self._hooks:
            yield queue
        yield from self.subscriptions.queues()


def write_log_line(event: TokenEvent) -> None:
    """Log one line for a token that was granted or not, and for what goes wrong in a fleet.

    A token that was taken over from the store has no line: each process of the fleet takes over
    each token.

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
        case SignInEvent():
            level, line = _line_of_sign_in(event)
        case _:
            found = _line_of_fleet(event)
            if found is None:
                return
            level, line = found
    if _log.isEnabledFor(level):
        fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
        del fields["token_name"]  # it may contain personal data
        fields["occurred_at"] = event.occurred_at.isoformat()
        _log.log(level, "%s", escaped(line), extra={"event_name": type(event).__name__, **fields})


def _line_of_sign_in(event: SignInEvent) -> tuple[int, str]:
    """Return the level and the log line of an event of a sign-in."""
    match event:
        case SignInFailed():
            level, what = logging.WARNING, f"sign-in failed: {event.reason}"
            if event.provider_name in what:
                return level, what
        case SignInCompleted():
            level, what = logging.INFO, "sign-in completed"
        case _:
            level, what = logging.INFO, "sign-in begun"
    return level, f"provider {event.provider_name!r}: {what}"


def _line_of_fleet(event: TokenEvent) -> tuple[int, str] | None:
    """Return the level and the log line of an event of a fleet; ``None`` for other events."""
    name = event.provider_name
    match event:
        case StoreUnavailable():
            level = logging.WARNING
            line = event.reason
            if event.store not in line:
                line = f"the store {event.store} is unavailable: {line}"
        case StoreRecovered():
            level = logging.INFO
            pause = f"{event.unavailable_seconds:.0f} s"
            line = f"the store {event.store} is available again, after {pause}"
        case ClaimTakenOver():
            level = logging.WARNING
            line = (
                f"provider {name!r}: another process claimed a token request and did not finish it "
                f"({event.intent}). It is made here instead"
            )
        case RecordReplaced():
            level = logging.WARNING
            line = f"provider {name!r}: an unreadable record was replaced: {event.reason}"
        case ClocksDisagree():
            level = logging.WARNING
            seconds = event.difference_seconds
            way = "ahead of" if seconds > 0 else "behind"
            line = (
                f"this host's clock is {abs(seconds):.0f} s {way} another clock of the fleet, so "
                "tokens are renewed too often. Check NTP on all hosts"
            )
        case _:
            return None
    return level, line
