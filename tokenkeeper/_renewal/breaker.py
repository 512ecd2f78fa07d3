"""Spares a store that fails: after a failure it is left alone for a while."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError, own_copy

__all__ = ["Breaker"]

OPEN_SECONDS = 3.0
"""How long a store is left alone, plus or minus half of it: a fleet must not return all at once."""


class Breaker:
    """Lets operations through until one fails, then one at a time after a pause. Thread-safe.

    Without it, each renewal of each token would wait for the timeout of a store that hangs.

    :param jitter: returns random numbers from 0 to 1.
    :ivar error: why the store can't be used; ``None`` while it works.
    :ivar failed_at: when it began to fail, on the keeper's monotonic clock.
    :ivar recovered_at: when it last worked again after that; negative infinity if it never failed.
    """

    def __init__(self, clock: Clock, jitter: Callable[[], float], probe_seconds: float) -> None:
        self._clock = clock
        self._jitter = jitter
        self._probe_seconds = probe_seconds
        self._lock = threading.Lock()  # guards all of the below
        self._retry_at = 0.0
        self.error: StoreUnavailableError | None = None
        self.failed_at = 0.0
        self.recovered_at = -math.inf

    def after_fork_in_child(self) -> None:
        """Replace the lock, and go on with what the parent knew of the store."""
        self._lock = threading.Lock()

    def check(self) -> None:
        """Return if the store may be asked now. While it fails, one caller at a time tries it.

        :raises StoreUnavailableError: the error of the last operation.
        """
        error = self.error
        if error is None:
            return
        with self._lock:
            now = self._clock.monotonic()
            if now >= self._retry_at:
                self._retry_at = now + 2 * self._probe_seconds
                return
        raise own_copy(error)

    def failed(self, error: StoreUnavailableError) -> bool:
        """Note that an operation failed; return whether the one before it worked."""
        with self._lock:
            was_working = self.error is None
            now = self._clock.monotonic()
            if was_working:
                self.failed_at = now
            self.error = error
            self._retry_at = now + OPEN_SECONDS * (0.5 + self._jitter())
            return was_working

    def worked(self) -> float | None:
        """Note that an operation worked; return for how many seconds none did, if any failed."""
        if self.error is None:  # as nearly always; this needs no lock
            return None
        with self._lock:
            # In this order: who sees that it works also sees since when.
            self.recovered_at = now = self._clock.monotonic()
            error, self.error = self.error, None
        return None if error is None else now - self.failed_at

    @property
    def retry_in_seconds(self) -> float:
        """After how many seconds the store is tried again; 0 while it works."""
        if self.error is None:
            return 0.0
        return max(0.0, self._retry_at - self._clock.monotonic())
