"""Who is told of events: the log first of all, and then the hooks that users give."""

from __future__ import annotations

import dataclasses
import logging
from collections import deque
from collections.abc import Iterable
from contextvars import Context, copy_context

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

__all__ = ["Hooks", "write_log_line"]

_log = logging.getLogger("tokenkeeper.events")


class Hooks:
    """Some hooks as one that raises nothing. Thread-safe.

    Events are lined up where they happen, and told later, without a lock. Each hook has a line of
    its own: one that is slow, or hangs, holds up the thread that tells it, and neither the other
    hooks nor the other threads of the keeper.

    :raises InvalidConfigurationError: if one of *hooks* can't be called.
    """

    def __init__(self, hooks: Iterable[EventHook]) -> None:
        self._lines = [_Line(write_log_line)]
        for hook in hooks:
            self.add(hook)

    def add(self, hook: EventHook) -> None:
        """Tell *hook*, too, from now on.

        :raises InvalidConfigurationError: if it can't be called.
        """
        if not callable(hook):
            raise InvalidConfigurationError(
                f"a hook must be callable with one event, and {type(hook).__name__} is not",
                field="hooks",
            )
        self._lines.append(_Line(hook))

    def line_up(self, *events: TokenEvent) -> None:
        """Have *events* told by the next :meth:`tell`, in the caller's context.

        Called with the keeper's lock held, so that their order is the one that they happened in.
        """
        for line in self._lines:
            line.untold.extend((copy_context(), event) for event in events)

    def tell(self) -> None:
        """Call each hook with what it was not told yet, unless another thread is doing so."""
        for line in self._lines:
            line.tell()

    def after_fork_in_child(self) -> None:
        """Leave to the parent what was not told yet."""
        for line in self._lines:
            line.clear()


class _Line:
    """One hook, and the events that it was not told yet. One thread at a time tells it."""

    def __init__(self, hook: EventHook) -> None:
        self._hook = hook
        self.clear()

    def clear(self) -> None:
        """Tell nothing of what is lined up."""
        self.untold: deque[tuple[Context, TokenEvent]] = deque()
        self._tellers: dict[str, object] = {}

    def tell(self) -> None:
        """Call the hook until nothing is untold, or leave that to the thread that does so now."""
        me = object()
        while self.untold:
            try:  # before the claim: a signal's exception must not leave a teller that is gone
                if self._tellers.setdefault("now", me) is not me:
                    return
                self._tell_all()
            finally:
                if self._tellers.get("now") is me:
                    del self._tellers["now"]

    def _tell_all(self) -> None:
        while self.untold:
            context, event = self.untold.popleft()
            try:
                context.run(self._hook, event)
            except Exception:  # noqa: BLE001 - whatever it is, it is not the tokens' fault
                _log.exception("a hook failed at %s", type(event).__name__)


def write_log_line(event: TokenEvent) -> None:
    """Log one line for a token that came, or did not, and for each pause after refusals.

    The event's fields are the record's, and JSON as they are: ``occurred_at`` is ISO 8601. Beside
    those, a record's ``event_name`` is the name of the event's class; ``event`` would be the
    message of the line to structlog.
    """
    match event:
        case TokenGranted():
            what = "renewed" if isinstance(event, TokenRenewed) else "acquired"
            level, line = logging.INFO, f"provider {event.provider_name!r}: token {what}"
        case TokenDenied():
            what = "not renewed" if isinstance(event, RenewalFailed) else "not acquired"
            level, line = logging.WARNING, f"token {what}: {event.reason}"
            if event.provider_name not in line:  # the error of a provider of one's own, perhaps
                line = f"provider {event.provider_name!r}: {line}"
        case TokenRejected():
            level = logging.WARNING
            line = (
                f"provider {event.provider_name!r}: an API refuses freshly granted tokens "
                f"({event.tokens} in a row): for {event.pause_seconds:.0f} s its refusals cause no "
                "token request"
            )
        case _:
            return
    if _log.isEnabledFor(level):
        fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
        fields["occurred_at"] = event.occurred_at.isoformat()
        _log.log(level, "%s", line, extra={"event_name": type(event).__name__, **fields})
