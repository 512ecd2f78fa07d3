"""What the steps of one examination hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.doctor.route import Route
from tokenkeeper.doctor.subject import Subject
from tokenkeeper.oauth.exchange import HttpAnswer

__all__ = ["Fetched", "Visit"]


@dataclass(frozen=True)
class Fetched:
    """A document of the server's, or what came in its place.

    :ivar asked_at: the wall clock in the middle of the request.
    """

    url: str
    issuer: str
    answer: HttpAnswer
    asked_at: float


@dataclass
class Visit:
    """One provider's examination. Used by one thread; each step writes what it learnt.

    :ivar timeout: seconds for each step, at most.
    :ivar address: the address that accepted a connection: the server's, or the proxy's.
    :ivar fetched: what the server answered when asked for its metadata.
    :ivar unanswered: why there was no answer, instead.
    :ivar lifetime: of the token that was granted, in seconds.
    """

    subject: Subject
    timeout: float = 10.0
    clock: Clock = SYSTEM_CLOCK
    route: Route = field(default_factory=lambda: Route(None, None, False, None, None, ""))
    addresses: list[str] = field(default_factory=list)
    address: str = ""
    fetched: list[Fetched] = field(default_factory=list)
    unanswered: str | None = None
    held: CachedToken | None = None
    lifetime: float = 0.0

    @property
    def first_stop(self) -> tuple[str, int]:
        """Host and port that a connection goes to: the proxy's, or else the server's."""
        if self.route.proxy is None:
            return self.subject.host, self.subject.port
        parts = urlsplit(self.route.proxy)
        return parts.hostname or "", parts.port or 80
