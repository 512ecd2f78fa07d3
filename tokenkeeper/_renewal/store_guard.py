"""Calls a store, spares one that fails, and reports when that begins and ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from tokenkeeper._renewal.breaker import Breaker
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import StoreRecovered, StoreUnavailable, TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.models import StoreHealth
from tokenkeeper.names import provider_of
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["StoreGuard"]

T = TypeVar("T")

SLEPT_FACTOR = 2.5
"""An operation that took so many times its timeout did not run all the time."""


class _Spent(threading.local):
    """How long this thread waited for the store so far."""

    seconds = 0.0


class StoreGuard:
    """Stands between a keeper and its store. Thread-safe.

    :param report: delivers an event; called without a lock.
    """

    def __init__(
        self,
        settings: StoreSettings,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        report: Callable[[TokenEvent], None],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._report = report
        self._spent = _Spent()
        self._breaker = Breaker(clock, jitter, settings.timeout_seconds)

    def after_fork_in_child(self) -> None:
        """Go on with what the parent knew of the store."""
        self._spent = _Spent()
        self._breaker.after_fork_in_child()

    def call(self, name: str, operation: Callable[[], T], *, insist: bool = False) -> T:
        """Return the result of a store operation for the token *name*.

        :param insist: ask the store even while it is being left alone.
        :raises StoreUnavailableError: if the store can't be used, or is being left alone.
        """
        if not insist:
            self._breaker.check()
        began = self._clock.monotonic()
        try:
            result = self._result(operation)
        except StoreUnavailableError as error:
            if self._breaker.failed(error):
                self._report_failure(name, error)
            raise
        finally:
            self._spent.seconds += self._clock.monotonic() - began
        pause = self._breaker.worked()
        if pause is not None:
            self._report_recovery(name, pause)
        return result

    def _result(self, operation: Callable[[], T]) -> T:
        """Return the result of *operation*, which is made again if this process slept meanwhile.

        An operation ends within its timeout. If it seems to have taken much longer, the machine was
        suspended or the process stopped, and its failure says nothing about the store.
        """
        began = self._clock.monotonic()
        try:
            return operation()
        except StoreUnavailableError:
            longest = SLEPT_FACTOR * self._settings.timeout_seconds
            if self._clock.monotonic() - began <= longest:
                raise
        return operation()

    def _report_failure(self, name: str, error: StoreUnavailableError) -> None:
        self._report(
            StoreUnavailable(
                provider_of(name),
                utc(self._clock),
                store=self._settings.label,
                reason=str(error),
                token_name=name,
            )
        )

    def _report_recovery(self, name: str, unavailable_seconds: float) -> None:
        self._report(
            StoreRecovered(
                provider_of(name),
                utc(self._clock),
                store=self._settings.label,
                unavailable_seconds=unavailable_seconds,
                token_name=name,
            )
        )

    @property
    def seconds_here(self) -> float:
        """How many seconds this thread has waited for the store so far."""
        return self._spent.seconds

    @property
    def retry_in_seconds(self) -> float:
        """After how many seconds the store is tried again; 0 while it works."""
        return self._breaker.retry_in_seconds

    @property
    def recovered_at(self) -> float:
        """When the store last worked again, on the keeper's clock; negative infinity if always."""
        return self._breaker.recovered_at

    def health(self) -> StoreHealth:
        """Return whether the store can be used, without asking it."""
        error = self._breaker.error
        failed_for = 0.0 if error is None else self._clock.monotonic() - self._breaker.failed_at
        return {
            "status": "ok" if error is None else "unavailable",
            "store": self._settings.label,
            "last_error": None if error is None else str(error),
            "unavailable_seconds": failed_for,
        }
