"""A hook that keeps its events, for tests that wait for something in the background."""

from __future__ import annotations

import threading
from typing import TypeVar

from tokenkeeper.events import TokenEvent

__all__ = ["EventRecorder"]

E = TypeVar("E", bound=TokenEvent)

GUARD_SECONDS = 30.0
"""The default timeout of a wait for an event, so that a test can't hang."""


class EventRecorder:
    """A hook that keeps all events in their order. Thread-safe.

    .. code-block:: python

        recorder = EventRecorder()
        keeper = TokenKeeper(hooks=[recorder])
        ...
        recorder.wait_for(TokenRenewed)
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()  # guards the two below
        self._events: list[TokenEvent] = []
        self._seen = 0

    def __call__(self, event: TokenEvent, /) -> None:
        """Keep *event*."""
        with self._changed:
            self._events.append(event)
            self._changed.notify_all()

    @property
    def events(self) -> list[TokenEvent]:
        """All events so far."""
        with self._changed:
            return list(self._events)

    def wait_for(
        self, kind: type[E], provider_name: str | None = None, timeout: float = GUARD_SECONDS
    ) -> E:
        """Return the next event of *kind*, and wait for it if necessary.

        "Next" means after the event that the previous call returned, so each is returned once.

        :param provider_name: a provider, to ignore the events of others; by default any.
        :param timeout: seconds of real time; 30 by default.
        :raises TimeoutError: if there was none in time. The message names the events so far.
        """
        found: list[E] = []

        def look() -> bool:
            while not found and self._seen < len(self._events):
                event = self._events[self._seen]
                self._seen += 1
                if isinstance(event, kind) and provider_name in (None, event.provider_name):
                    found.append(event)
            return bool(found)

        with self._changed:
            if self._changed.wait_for(look, timeout):
                return found[0]
            names = ", ".join(type(event).__name__ for event in self._events) or "none"
        raise TimeoutError(f"no {kind.__name__} within {timeout:g} s; events so far: {names}")
