"""Who is told of events: the log first of all, and then the hooks that users give."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable

from tokenkeeper.events import (
    EventHook,
    RenewalFailed,
    TokenDenied,
    TokenEvent,
    TokenGranted,
    TokenRenewed,
)
from tokenkeeper.exceptions import InvalidConfigurationError

__all__ = ["Hooks", "write_log_line"]

_log = logging.getLogger("tokenkeeper.events")


class Hooks:
    """Some hooks as one that raises nothing. Thread-safe.

    :raises InvalidConfigurationError: if one of *hooks* can't be called.
    """

    def __init__(self, hooks: Iterable[EventHook]) -> None:
        self._hooks: list[EventHook] = [write_log_line]
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
        self._hooks.append(hook)

    def tell(self, *events: TokenEvent) -> None:
        """Call each hook with each of *events*."""
        for event in events:
            for hook in self._hooks:
                try:
                    hook(event)
                except Exception:  # noqa: BLE001 - whatever it is, it is not the tokens' fault
                    _log.exception("a hook failed at %s", type(event).__name__)


def write_log_line(event: TokenEvent) -> None:
    """Log one line for a token that came, or did not; the event's fields are the record's.

    Beside those, a record's ``event`` is the name of the event's class.
    """
    match event:
        case TokenGranted():
            what = "renewed" if isinstance(event, TokenRenewed) else "acquired"
            level, line = logging.INFO, f"provider {event.provider_name!r}: token {what}"
        case TokenDenied():
            what = "not renewed" if isinstance(event, RenewalFailed) else "not acquired"
            level, line = logging.WARNING, f"token {what}: {event.reason}"
        case _:
            return
    if _log.isEnabledFor(level):
        fields = {each.name: getattr(event, each.name) for each in dataclasses.fields(event)}
        _log.log(level, "%s", line, extra={"event": type(event).__name__, **fields})
