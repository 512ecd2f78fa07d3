"""Statistics of the loopback authorization server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tokenkeeper.clock import Clock

__all__ = ["Recorder", "ServerStats"]


@dataclass(frozen=True, slots=True)
class ServerStats:
    """The counts of a server at one moment. A snapshot, not a view.

    :ivar token_requests: requests that reached the token endpoint, refused ones included.
    :ivar token_requests_by_grant: the same by ``grant_type``.
    :ivar token_requests_at: when each arrived, in seconds on the server's monotonic clock.
    :ivar max_concurrent_token_requests: the most that were under way at once.
    :ivar tokens_granted: the number of access tokens granted.
    :ivar api_accepted: calls of the protected API with a valid token.
    :ivar api_refused: calls with another answer, by reason: ``"missing"`` (no token sent),
        ``"unknown"``, ``"expired"``, ``"revoked"`` or ``"refused as told"``.
    """

    token_requests: int = 0
    token_requests_by_grant: Mapping[str, int] = field(default_factory=dict)
    token_requests_at: tuple[float, ...] = ()
    max_concurrent_token_requests: int = 0
    tokens_granted: int = 0
    api_accepted: int = 0
    api_refused: Mapping[str, int] = field(default_factory=dict)

    @property
    def api_refusals(self) -> int:
        """How many calls of the API were refused, for any reason."""
        return sum(self.api_refused.values())

    @property
    def api_dead(self) -> int:
        """How many calls of the API had an expired or revoked token."""
        return self.api_refused.get("expired", 0) + self.api_refused.get("revoked", 0)


class Recorder:
    """Counts requests. Thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()  # guards all that follows
        self._by_grant: Counter[str] = Counter()
        self._times: list[float] = []
        self._under_way = 0
        self._most_under_way = 0
        self._granted = 0
        self._accepted = 0
        self._refused: Counter[str] = Counter()

    @contextmanager
    def token_request(self, grant_type: str) -> Iterator[None]:
        """Count a token request, which is under way until the block ends."""
        with self._lock:
            self._times.append(self._clock.monotonic())
            self._by_grant[grant_type] += 1
            self._under_way += 1
            self._most_under_way = max(self._most_under_way, self._under_way)
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def granted(self) -> None:
        """Count an access token that was granted."""
        with self._lock:
            self._granted += 1

    def api_call(self, refused: str | None) -> None:
        """Count a call of the API, accepted or refused for a reason."""
        with self._lock:
            if refused is None:
                self._accepted += 1
            else:
                self._refused[refused] += 1

    def snapshot(self) -> ServerStats:
        """Return the current counts."""
        with self._lock:
            return ServerStats(
                token_requests=len(self._times),
                token_requests_by_grant=dict(self._by_grant),
                token_requests_at=tuple(self._times),
                max_concurrent_token_requests=self._most_under_way,
                tokens_granted=self._granted,
                api_accepted=self._accepted,
                api_refused=dict(self._refused),
            )
