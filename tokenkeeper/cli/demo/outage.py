"""The one outage of the demo's token endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from tokenkeeper.cli.demo.report import Plan
from tokenkeeper.testing.server import LoopbackAuthorizationServer

__all__ = ["Outage"]

_BEGINS_AFTER = 0.35  # of the run; the keeper's next renewal is at most 0.57 of a lifetime away


class Outage:
    """Takes the token endpoints down once, until renewals of the keeper have failed for a while.

    :param server: the keeper's server, which decides when the outage ends.
    :param others: servers that go down and come back at the same moments.

    :ivar began: when it began, in seconds from the start; ``None`` before.
    :ivar ended: likewise.
    :ivar refused: the token requests of the keeper that met it.
    """

    def __init__(
        self,
        plan: Plan,
        server: LoopbackAuthorizationServer,
        others: Sequence[LoopbackAuthorizationServer] = (),
    ) -> None:
        self._plan = plan
        self._server = server
        self._all = (server, *others)
        self._refused_before = 0
        self._granted_before = 0
        self._noticed: float | None = None  # when a refused request was first seen
        self.began: float | None = None
        self.ended: float | None = None
        self.refused: int = 0

    @property
    def is_on(self) -> bool:
        """Whether the token endpoints are down."""
        return self.began is not None and self.ended is None

    def update(self, elapsed: float) -> None:
        """Begin or end the outage if it is time."""
        if self.began is None:
            if elapsed >= self._plan.seconds * _BEGINS_AFTER:
                self._begin(elapsed)
            return
        if self.ended is not None:
            return
        if self._noticed is None and self._count_refused() > self._refused_before:
            self._noticed = elapsed
        if self._noticed is not None and elapsed >= self._noticed + self._plan.outage_seconds:
            self.end(elapsed)

    def _begin(self, elapsed: float) -> None:
        self.began = elapsed
        self._refused_before = self._count_refused()
        for server in self._all:
            server.go_down()

    def end(self, elapsed: float) -> None:
        """End the outage, if it is on."""
        if not self.is_on:
            return
        self.refused = self._count_refused() - self._refused_before
        self._granted_before = self._server.stats().tokens_granted
        self.ended = elapsed  # last: another thread asks whether it was survived
        for server in self._all:
            server.come_back()

    def is_survived(self) -> bool:
        """Return whether it has ended and the keeper was granted a token since."""
        return self.ended is not None and self._server.stats().tokens_granted > self._granted_before

    def _count_refused(self) -> int:
        stats = self._server.stats()
        return stats.token_requests - stats.tokens_granted
