"""The state of one examination, which each step reads and adds to."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.doctor.provider_facts import ProviderFacts
from tokenkeeper.doctor.route import Route
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.client_proof import ClientCertificate
from tokenkeeper.oauth.exchange import HttpAnswer
from tokenkeeper.stores.settings import StoreSettings

__all__ = ["Examination", "MetadataResponse"]


@dataclass(frozen=True)
class MetadataResponse:
    """The server's response to a request for its metadata.

    :ivar issuer: the issuer whose metadata was requested.
    :ivar asked_at: the wall clock in the middle of the request.
    """

    url: str
    issuer: str
    answer: HttpAnswer
    asked_at: float


@dataclass
class Examination:
    """The examination of one provider. Used by one thread.

    :ivar timeout: the most seconds for each step.
    :ivar address: the address that accepted a connection, of the server or of the proxy.
    :ivar certificate: the client's certificate, to present in requests; ``None`` if it has none.
    :ivar responses: the server's responses to requests for its metadata.
    :ivar unanswered: why there was no response; ``None`` if there was one.
    :ivar token: the token that was granted.
    :ivar lifetime: the lifetime of that token, in seconds.
    :ivar store: the store of the configuration; ``None`` without one.
    """

    facts: ProviderFacts
    timeout: float = 10.0
    clock: Clock = SYSTEM_CLOCK
    route: Route = field(default_factory=lambda: Route(None, None, False, None, None, ""))
    addresses: list[str] = field(default_factory=list)
    address: str = ""
    certificate: ClientCertificate | None = None
    responses: list[MetadataResponse] = field(default_factory=list)
    unanswered: str | None = None
    token: OAuth2Token | None = None
    lifetime: float = 0.0
    store: StoreSettings | None = None

    @property
    def first_stop(self) -> tuple[str, int]:
        """The host and port to connect to: those of the proxy, if there is one."""
        if self.route.proxy is None:
            return self.facts.host, self.facts.port
        parts = urlsplit(self.route.proxy)
        return parts.hostname or "", parts.port or 80
