"""Reads the store for all viewers together: at most one read at a time, and one per refresh."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field, replace

import anyio

from tokenkeeper._support.escaping import escaped
from tokenkeeper.clock import Clock
from tokenkeeper.dashboard.history import History, Trend
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.stores.overview import overview
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.stores.views import StoreOverview

__all__ = ["Snapshot", "Snapshots"]

logger = logging.getLogger(__name__)

LONGEST_WAIT_SECONDS = 3.0
"""How long a viewer waits for a read. Then it gets the last known state."""

POLL_SECONDS = 0.01

SHARE_OF_TIME = 10
"""A read that takes long is repeated less often, so that reads take a tenth of the time at most."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the dashboard knows.

    :ivar overview: the store at the last read that succeeded; ``None`` before the first.
    :ivar trend: the fleet's requests up to then.
    :ivar read_at: when that read began, on a monotonic clock.
    :ivar read_at_wall: the same by the wall clock, in seconds since the epoch.
    :ivar error: why the latest read failed; ``""`` if it succeeded.
    """

    overview: StoreOverview | None = None
    trend: Trend = field(default_factory=Trend)
    read_at: float = 0.0
    read_at_wall: float = 0.0
    error: str = ""


class Snapshots:
    """The latest snapshot of a store. Thread-safe, and works under asyncio and trio.

    A thread of its own reads the store while somebody looks, and none does otherwise.

    :param refresh_seconds: how old a snapshot may be.
    """

    def __init__(self, settings: StoreSettings, clock: Clock, refresh_seconds: float) -> None:
        self.refresh_seconds = refresh_seconds
        self.clock = clock
        self._settings = settings
        self._history = History()
        self._latest = Snapshot()
        self._due_at = -float("inf")
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()  # guards the decision to start a reader

    async def current(self) -> Snapshot:
        """Return the latest snapshot, after a read of the store if it is too old."""
        with anyio.move_on_after(LONGEST_WAIT_SECONDS):
            while self._is_reading():
                await anyio.sleep(POLL_SECONDS)
        latest = self._latest
        if latest.overview is None and not latest.error:
            return replace(latest, error="the store has not answered yet")
        return latest

    def _is_reading(self) -> bool:
        """Return whether a new snapshot is on its way. Starts a read if one is due."""
        if self.clock.monotonic() < self._due_at:
            return False
        with self._lock:
            # A forked child inherits the object of a thread that is not alive there.
            if self._reader is None or not self._reader.is_alive():
                if self.clock.monotonic() < self._due_at:  # it has just ended
                    return False
                self._reader = threading.Thread(
                    target=self._read, name="tokenkeeper-dashboard", daemon=True
                )
                self._reader.start()
        return True

    def _read(self) -> None:
        began_at, wall_time = self.clock.monotonic(), self.clock.time()
        try:
            found = overview(self._settings, self.clock)
            trend = self._history.observe(found, began_at)
            self._latest = Snapshot(found, trend, began_at, wall_time)
        except StoreUnavailableError as error:
            self._latest = replace(self._latest, error=escaped(error))
        except Exception as error:  # noqa: BLE001 - a store of anybody's; the page shows that it failed
            # The message may contain anything, such as a password.
            name = type(error).__name__
            logger.warning("The dashboard could not read the store: unexpected %s", name)
            self._latest = replace(self._latest, error=f"unexpected {name}")
        took = self.clock.monotonic() - began_at
        self._due_at = began_at + max(self.refresh_seconds, SHARE_OF_TIME * took)
