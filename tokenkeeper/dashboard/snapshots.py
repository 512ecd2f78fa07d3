"""Reads the store for all viewers together: at most one read at a time, and one per refresh."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

import anyio

from tokenkeeper._support.escaping import escaped
from tokenkeeper.clock import Clock
from tokenkeeper.dashboard.history import History, Trend
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.overview import overview
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.stores.views import StoreOverview

__all__ = ["SHARE_OF_TIME", "Snapshot", "Snapshots"]

_log = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 3.0
"""How long a viewer waits for a read. Then it gets the last known state."""

POLL_SECONDS = 0.01

SHARE_OF_TIME = 10
"""A read that takes long is repeated less often, so that reads take a tenth of the time at most."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the dashboard knows.

    :ivar overview: the store at the last read that succeeded; ``None`` before the first.
    :ivar trend: the fleet's requests up to then.
    :ivar read_at: when that read began, on a monotonic clock.
    :ivar read_at_wall: the same by the wall clock, in seconds since the epoch.
    :ivar read_seconds: how long that read took.
    :ivar error: why the latest read failed; ``""`` if it succeeded.
    :ivar outdated_seconds: how long before that failure the last success was.
    """

    overview: StoreOverview | None = None
    trend: Trend = field(default_factory=Trend)
    read_at: float = 0.0
    read_at_wall: float = 0.0
    read_seconds: float = 0.0
    error: str = ""
    outdated_seconds: float = 0.0


class Snapshots(Generic[_T]):
    """The latest snapshot of a store, rendered. Thread-safe, and works under asyncio and trio.

    A thread of its own reads and renders while somebody looks, and none does otherwise.

    :param refresh_seconds: how old a snapshot may be.
    :param render: makes of a snapshot what viewers get.
    """

    def __init__(
        self,
        settings: StoreSettings,
        clock: Clock,
        refresh_seconds: float,
        render: Callable[[Snapshot], _T],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._refresh_seconds = refresh_seconds
        self._render = render
        self._history = History()
        self._latest = Snapshot()
        self._rendered = render(Snapshot(error="the store has not answered yet"))
        self._due_at = -float("inf")
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the decision to start a reader

    async def current(self) -> _T:
        """Return the latest snapshot, rendered, after a read of the store if it is too old."""
        with anyio.move_on_after(LONGEST_WAIT_SECONDS):
            while self._is_reading():
                await anyio.sleep(POLL_SECONDS)
        return self._rendered

    def _is_reading(self) -> bool:
        """Return whether a new snapshot is on its way. Starts a read if one is due."""
        if self._clock.monotonic() < self._due_at:
            return False
        with self._lock:
            # A forked child inherits the object of a thread that is not alive there.
            if self._reader is None or not self._reader.is_alive():
                if self._clock.monotonic() < self._due_at:  # it has just ended
                    return False
                self._reader = threading.Thread(
                    target=self._refresh, name="tokenkeeper-dashboard", daemon=True
                )
                self._reader.start()
        return True

    def _refresh(self) -> None:
        began_at = self._clock.monotonic()
        try:
            self._latest = self._read(began_at)
            self._rendered = self._shown(self._latest)
        finally:
            took = self._clock.monotonic() - began_at
            self._due_at = began_at + max(self._refresh_seconds, SHARE_OF_TIME * took)

    def _shown(self, snapshot: Snapshot) -> _T:
        """Return *snapshot* rendered, or else that it can't be: an old page must not look new."""
        try:
            return self._render(snapshot)
        except Exception as error:  # noqa: BLE001 - others may have written anything to the store
            reason = f"unexpected {type(error).__name__}"
            _log.warning("The dashboard could not show the store: %s", reason)
        return self._render(Snapshot(error=reason))

    def _read(self, began_at: float) -> Snapshot:
        """Return a new snapshot, or the latest with the reason why there is no new one."""
        wall_time = self._clock.time()
        try:
            found = overview(self._settings, self._clock)
            trend = self._history.observe(found, began_at)
            took = self._clock.monotonic() - began_at
            return Snapshot(found, trend, began_at, wall_time, took)
        except StoreUnavailableError as error:
            reason = escaped(error)
        except Exception as error:  # noqa: BLE001 - of any store; the page shows that it failed
            # The message may contain anything, such as a password.
            reason = f"unexpected {type(error).__name__}"
            _log.warning("The dashboard could not read the store: %s", reason)
        outdated = self._clock.monotonic() - self._latest.read_at
        return replace(self._latest, error=reason, outdated_seconds=outdated)
