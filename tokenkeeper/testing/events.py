"""A hook that records events, for tests that wait for something in the background."""

from __future__ import annotations

import threading
from typing import TypeVar

from tokenkeeper.events import TokenEvent

__all__ = ["EventRecorder"]

E = TypeVar("E", bound=TokenEvent)

GUARD_SECONDS = 30.0
"""How long to wait for an event, so that a test fails instead of hanging."""


class EventRecorder:
    """Records all events in order. Thread-safe.

    .. code-block:: python

        recorder = EventRecorder()
        keeper = TokenKeeper(hooks=[recorder])
        ...
        recorder.wait_for(TokenRenewed)
    """

    def __init__(self) -> None:
        self._arrived = threading.Condition()  # guards the two below
        self._events: list[TokenEvent] = []
        self._seen = 0

    def __call__(self, event: TokenEvent, /) -> None:
        """Record *event*."""
        with self._arrived:
            self._events.append(event)
            self._arrived.notify_all()

    @property
    def events(self) -> list[TokenEvent]:
        """The events so far."""
        with self._arrived:
            return list(self._events)

    def wait_for(
        self, kind: type[E], provider_name: str | None = None, timeout: float = GUARD_SECONDS
    ) -> E:
        """Return the next event of *kind*; wait for it if necessary.

        "Next" means after the event that the last call returned, so each event is returned once.

        :param provider_name: return only events of this provider; of all providers by default.
        :param timeout: seconds of real time; 30 by default.
        :raises TimeoutError: if none arrived; names the events that did.
        """
        found: list[E] = []

        def look() -> bool:
            while not found and self._seen < len(self._events):
                event = self._events[self._seen]
                self._seen += 1
                if isinstance(event, kind) and provider_name in (None, event.provider_name):
                    found.append(event)
            return bool(found)

        with self._arrived:
            if self._arrived.wait_for(look, timeout):
                return found[0]
            seen = ", ".join(type(event).__name__ for event in self._events) or "none"
        raise TimeoutError(f"no {kind.__name__} within {timeout:g} s. Events so far: {seen}.")
