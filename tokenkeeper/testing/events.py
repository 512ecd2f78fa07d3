"""A hook that keeps what it is told, for tests that wait for what happens in the background."""

from __future__ import annotations

import threading
from typing import TypeVar

from tokenkeeper.events import TokenEvent

__all__ = ["EventRecorder"]

E = TypeVar("E", bound=TokenEvent)

GUARD_SECONDS = 30.0
"""An event that does not come within this time comes never: a test must not hang."""


class EventRecorder:
    """Keeps all events in their order. Thread-safe.

    .. code-block:: python

        recorder = EventRecorder()
        keeper = TokenKeeper(hooks=[recorder])
        ...
        recorder.wait_for(TokenRenewed)
    """

    def __init__(self) -> None:
        self._told = threading.Condition()  # guards the two below
        self._events: list[TokenEvent] = []
        self._seen = 0

    def __call__(self, event: TokenEvent, /) -> None:
        """Keep *event*."""
        with self._told:
            self._events.append(event)
            self._told.notify_all()

    @property
    def events(self) -> list[TokenEvent]:
        """All of them so far."""
        with self._told:
            return list(self._events)

    def wait_for(
        self, kind: type[E], provider_name: str | None = None, timeout: float = GUARD_SECONDS
    ) -> E:
        """Return the next event of *kind*, and wait for it if need be.

        "Next" counts from the one that this returned last, so each event is returned once.

        :param provider_name: only of this provider.
        :param timeout: seconds of real time; 30 by default.
        :raises TimeoutError: if none came, naming what came instead.
        """
        found: list[E] = []

        def look() -> bool:
            while not found and self._seen < len(self._events):
                event = self._events[self._seen]
                self._seen += 1
                if isinstance(event, kind) and provider_name in (None, event.provider_name):
                    found.append(event)
            return bool(found)

        with self._told:
            if self._told.wait_for(look, timeout):
                return found[0]
            came = ", ".join(type(event).__name__ for event in self._events) or "nothing"
        raise TimeoutError(f"no {kind.__name__} within {timeout:g} s; so far came: {came}")
