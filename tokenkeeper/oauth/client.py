"""A client at its authorization server: sends requests that it authenticates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tokenkeeper._support.checks import secrets_in_query
from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Config
from tokenkeeper.oauth.attribution import attributed_to
from tokenkeeper.oauth.client_auth import ClientAuth
from tokenkeeper.oauth.client_proof import ClientProof, Recipient
from tokenkeeper.oauth.exchange import HttpAnswer, LateSecrets
from tokenkeeper.oauth.request_style import RequestStyle
from tokenkeeper.oauth.secret_parameters import secret_values
from tokenkeeper.oauth.server import Endpoint, Server, recipient
from tokenkeeper.oauth.transport import HttpTransport

__all__ = ["Exchange", "OAuthClient"]


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """A request that was answered. Never changed.

    :ivar sent_at: when it was sent, on the wall clock, in seconds since the epoch.
    :ivar secrets: texts in the request that no message may show.
    """

    answer: HttpAnswer
    sent_at: float
    secrets: LateSecrets


@dataclass(frozen=True, slots=True, eq=False)
class OAuthClient:
    """Sends a client's requests to its server, with a proof of who it is. Thread-safe.

    :ivar config: the client's registration.
    :ivar server: where its requests go.
    :ivar auth: how it authenticates.
    :ivar style: the format of its requests.
    """

    config: OAuth2Config = field(repr=False)
    server: Server
    auth: ClientAuth
    transport: HttpTransport = field(repr=False)
    clock: Clock = field(repr=False)
    style: RequestStyle

    def post(
        self,
        endpoint: Endpoint,
        parameters: Callable[[Recipient], Mapping[str, Any]],
    ) -> Exchange:
        """Send one request and return the response, whatever its status.

        :param parameters: returns the parameters, given whom the request is for; empty ones are
            left out, and the proof's replace them.
        :raises TokenAcquisitionError: if there is no response.
        """
        to = recipient(self.server, self.server.endpoint(endpoint))
        with attributed_to(self.config.provider_name):
            own = parameters(to)
            proof = self.auth.prove(self.config.client_id, to)
        if proof.certificate is not None:
            url = self.server.endpoint(endpoint, with_certificate=True)
        else:
            url = to.url
        sent_at = self.clock.time()
        answer = self.transport.request(
            "POST",
            url,
            provider_name=self.config.provider_name,
            authorization=proof.authorization,
            certificate=proof.certificate,
            **self.style.encode({**own, **proof.parameters}),
        )
        return Exchange(answer, sent_at, LateSecrets(partial(self._secrets, url, own, proof)))

    def _secrets(
        self, url: str, parameters: Mapping[str, Any], proof: ClientProof
    ) -> Iterator[str]:
        """Yield the texts in a request that no message may show."""
        yield from proof.secrets()
        if self.config.client_secret:
            yield self.config.client_secret
        yield from secret_values(parameters)
        yield from secrets_in_query(url)
        yield from self.style.secrets()
