"""A client at its authorization server: sends requests that it authenticates."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from tokenkeeper.oauth.dpop import DPoPKey

__all__ = ["Exchange", "OAuthClient"]


@dataclass(slots=True, eq=False, repr=False)
class Exchange:
    """A request that was answered. Never changed.

    :ivar sent_at: when it was sent, on the wall clock, in seconds since the epoch.
    :ivar secrets: texts in the request that no message may show.
    :ivar url: where it was sent.
    """

    answer: HttpAnswer
    sent_at: float
    secrets: LateSecrets
    url: str


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
        *,
        key: DPoPKey | None = None,
    ) -> Exchange:
        """Send one request and return the response, whatever its status.

        :param parameters: returns the parameters, given whom the request is for; empty ones are
            left out, and the proof's replace them. Called again if the request is repeated.
        :param key: the key to bind the token to (RFC 9449 §5); ``None``, the default, for none. A
            request whose proof is refused for want of a nonce is repeated once.
        :raises TokenAcquisitionError: if there is no response.
        """
        if key is None:
            return self._send(endpoint, parameters)
        from tokenkeeper.oauth.dpop_request import send_with_proof

        return send_with_proof(key, partial(self._send, endpoint, parameters))

    def with_forms(self, accept: str = "application/json") -> OAuthClient:
        """Return the same client for endpoints that take forms, whatever the token endpoint takes.

        :param accept: the ``Accept`` header; by default for JSON.
        """
        return replace(self, style=RequestStyle("form", accept, self.style.headers))

    def _send(
        self,
        endpoint: Endpoint,
        parameters: Callable[[Recipient], Mapping[str, Any]],
        proof_for: Callable[[str], Mapping[str, str]] | None = None,
    ) -> Exchange:
        to = recipient(self.server, self.server.endpoint(endpoint))
        with attributed_to(self.config.provider_name):
            own = parameters(to)
            proof = self.auth.prove(self.config.client_id, to)
        if proof.certificate is not None:
            url = self.server.endpoint(endpoint, with_certificate=True)
        else:
            url = to.url
        encoded = self.style.encode({**own, **proof.parameters})
        if proof_for is not None:
            encoded["headers"].update(proof_for(url))
        sent_at = self.clock.time()
        answer = self.transport.request(
            "POST",
            url,
            provider_name=self.config.provider_name,
            authorization=proof.authorization,
            certificate=proof.certificate,
            **encoded,
        )
        return Exchange(answer, sent_at, LateSecrets(partial(self._secrets, url, own, proof)), url)

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
