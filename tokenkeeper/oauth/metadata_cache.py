"""Keeps the metadata of issuers: one request for all who need it, and none while it is fresh."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

from cachetools import TLRUCache

from tokenkeeper._runtime.fork import notice_fork, renew_after_fork
from tokenkeeper.clock import Clock
from tokenkeeper.oauth.metadata_request import MetadataFailure, request_metadata
from tokenkeeper.oauth.server_metadata import ServerMetadata
from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["MetadataCache", "cache_of"]

MOST_ISSUERS = 1024
"""Issuers whose metadata is kept for one transport."""

REPLACE_SECONDS = 5.0
"""The longest request for a document that replaces an old one, which can still be used."""

AGAIN_SECONDS = 60.0
"""How long an old document is used before another attempt to replace it."""

PAUSE_SECONDS = 1.0
"""How long a failure is the answer to all callers: many tokens cost one request a second."""

LONGEST_PAUSE_SECONDS = 60.0
"""The same if the server asks for a longer pause."""

_log = logging.getLogger("tokenkeeper.oauth")

Outcome = ServerMetadata | MetadataFailure


class _Flight:
    """A request under way.

    :ivar outcome: ``None`` until it is done, and if its thread was interrupted.
    """

    def __init__(self) -> None:
        self.done = threading.Event()
        self.outcome: Outcome | None = None


class MetadataCache:
    """The metadata that was read through one transport. Thread-safe and fork-safe.

    :param clock: the source of time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Published in single assignments, so that a forked child has complete ones.
        self._documents: Mapping[str, ServerMetadata] = {}
        self._reset()
        renew_after_fork(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()  # guards the rest, and the replacement of _documents
        self._flights: dict[str, _Flight] = {}
        self._failures: TLRUCache[str, MetadataFailure] = TLRUCache(
            MOST_ISSUERS, ttu=_again_at, timer=self._clock.monotonic
        )

    def after_fork_in_child(self) -> None:
        """Forget the requests under way: their threads stayed with the parent."""
        self._reset()

    def get(self, issuer: str, transport: HttpTransport, provider_name: str) -> ServerMetadata:
        """Return the metadata of *issuer*, from memory if it is fresh.

        While one caller replaces an old document, others get the old one.

        :raises TokenAcquisitionError: if there is none.
        """
        notice_fork()
        outcome: Outcome | None = None
        while outcome is None:  # a request that was interrupted is made again
            outcome = self._once(issuer, transport, provider_name)
        if isinstance(outcome, ServerMetadata):
            return outcome
        raise outcome.error(provider_name, self._clock.monotonic())

    def known(self, issuer: str) -> ServerMetadata | None:
        """Return the metadata of *issuer* if there is any in memory, fresh or not."""
        return self._documents.get(issuer)

    def renew_soon(self, document: ServerMetadata) -> None:
        """Replace *document*, which lacks something, before long."""
        soon = self._clock.monotonic() + AGAIN_SECONDS
        with self._lock:
            if self._documents.get(document.issuer) is document and soon < document.fresh_until:
                self._publish(replace(document, fresh_until=soon))

    def _once(self, issuer: str, transport: HttpTransport, provider_name: str) -> Outcome | None:
        """Return the outcome from memory, of an own request or of the one under way."""
        known = self._documents.get(issuer)
        if known is not None and self._clock.monotonic() < known.fresh_until:
            return known
        with self._lock:
            under_way = self._flights.get(issuer)
            if under_way is None:
                if failure := self._failures.get(issuer):
                    return failure
                if self._documents.get(issuer) is not known:
                    return None  # another thread has just replaced it
                own = self._flights[issuer] = _Flight()
        if under_way is not None:
            return known or self._wait(under_way, issuer, transport.total_timeout)
        try:
            own.outcome = self._request(issuer, transport, provider_name, known)
        finally:
            with self._lock:
                self._complete(own, issuer)
            own.done.set()
        return own.outcome

    def _request(
        self,
        issuer: str,
        transport: HttpTransport,
        provider_name: str,
        known: ServerMetadata | None,
    ) -> Outcome:
        seconds = transport.total_timeout
        outcome = request_metadata(
            issuer,
            transport,
            self._clock,
            provider_name=provider_name,
            seconds=seconds if known is None else min(seconds, REPLACE_SECONDS),
        )
        if isinstance(outcome, ServerMetadata):
            return outcome
        now = self._clock.monotonic()
        if known is None:
            return replace(outcome, again_at=now + _pause_seconds(outcome))
        _log.warning("the earlier metadata of %s is still used: %s", issuer, outcome.problem)
        return replace(known, fresh_until=now + AGAIN_SECONDS)

    def _complete(self, flight: _Flight, issuer: str) -> None:
        """Let others see the outcome of *flight*. Called with the lock held."""
        if self._flights.get(issuer) is flight:
            del self._flights[issuer]
        if isinstance(flight.outcome, ServerMetadata):
            self._publish(flight.outcome)
            self._failures.pop(issuer, None)
        elif flight.outcome is not None:
            self._failures[issuer] = flight.outcome

    def _publish(self, document: ServerMetadata) -> None:
        """Replace the document of an issuer. Called with the lock held."""
        others = [each for each in self._documents.values() if each.issuer != document.issuer]
        kept = [*others[-(MOST_ISSUERS - 1) :], document]
        self._documents = {each.issuer: each for each in kept}

    def _wait(self, flight: _Flight, issuer: str, seconds: float) -> Outcome | None:
        """Return the outcome of *flight*; ``None`` if its thread was interrupted."""
        if flight.done.wait(seconds):  # in real time, like the request
            return flight.outcome
        with self._lock:
            if self._flights.get(issuer) is flight:  # its thread hangs, or was ended
                del self._flights[issuer]
        return MetadataFailure(
            f"the metadata of {issuer} could not be had: a request for it has not ended yet.",
            True,
            network_reason="timeout",
        )


def _again_at(_issuer: str, failure: MetadataFailure, _now: float) -> float:
    return failure.again_at


def _pause_seconds(failure: MetadataFailure) -> float:
    return min(max(failure.retry_after or 0.0, PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)


_caches: WeakKeyDictionary[HttpTransport, MetadataCache] = WeakKeyDictionary()


def cache_of(transport: HttpTransport, clock: Clock) -> MetadataCache:
    """Return the cache for requests through *transport*, which lives as long as that."""
    return _caches.get(transport) or _caches.setdefault(transport, MetadataCache(clock))
