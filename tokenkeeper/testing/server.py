"""An authorization server with a protected API on loopback, with faults on demand."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.testing.control_endpoint import PREFIX, ControlEndpoint
from tokenkeeper.testing.controls import Controls
from tokenkeeper.testing.current import CURRENT_CLOCK
from tokenkeeper.testing.endpoints import Endpoints
from tokenkeeper.testing.faults import Answer, Faults
from tokenkeeper.testing.request import Request
from tokenkeeper.testing.wire import MAX_CONNECTIONS, Wire

if TYPE_CHECKING:
    from tokenkeeper.testing.jwts import JWTAccessTokens, JWTSigner

__all__ = ["LoopbackAuthorizationServer"]

STOP_SECONDS = 2.0
"""How long stop() waits for connections to end."""


class LoopbackAuthorizationServer(Controls):
    """A real HTTP server on 127.0.0.1 that grants and checks tokens.

    .. code-block:: python

        with LoopbackAuthorizationServer(lifetime_seconds=4) as server:
            keeper.add_provider(GenericOAuth2Provider(server.config("api")))
            server.go_down("503")
            ...
            assert server.stats().api_dead == 0

    It offers the grants ``client_credentials`` and ``refresh_token`` (RFC 6749 §4.4, §6) to
    clients that use ``client_secret_basic`` or ``client_secret_post``, introspection (RFC 7662),
    metadata (RFC 8414) and, under ``/api/``, a protected resource (RFC 6750) with the usual
    methods. A refresh token works once; its second use revokes all tokens of the same grant.
    Thread-safe.

    :param lifetime_seconds: the lifetime of tokens, an hour by default; may be assigned to.
    :param latency_seconds: how long the token endpoint takes to answer, in real time; 0 by default;
        may be assigned to.
    :param refresh_tokens: whether to grant refresh tokens too; ``False`` by default; may be
        assigned to.
    :param clock: the server's clock, by which tokens expire and answers are dated; by default that
        of the test.
    :param port: the port to listen on; by default a free one.
    :param scopes: the scopes of the first client; ``read`` and ``write`` by default.
    :param jwt: whether access tokens are JWTs, or what they contain; by default they are opaque.
    :param ca_file: serves https, and writes the certificate of its own CA to this file, for
        clients to trust; by default the server speaks http.
    :param control_key: lets programs that send this key cause faults under ``/control/``; by
        default there is no such endpoint.
    :param max_connections: how many connections may be open at once, 500 by default. Beyond that,
        an idle one is closed, and new ones wait.

    One client is registered from the start: ``client_id`` and ``client_secret``.
    """

    client_id = "loopback-client"
    client_secret = "no secret on loopback"  # noqa: S105 - it says so

    def __init__(
        self,
        *,
        lifetime_seconds: float = 3600.0,
        latency_seconds: float = 0.0,
        refresh_tokens: bool = False,
        clock: Clock = CURRENT_CLOCK,
        port: int = 0,
        scopes: Iterable[str] = ("read", "write"),
        jwt: bool | JWTAccessTokens = False,
        ca_file: str | os.PathLike[str] | None = None,
        control_key: str | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        if max_connections < 1:
            raise ValueError("max_connections must be at least 1")
        if control_key == "":
            raise ValueError("control_key must not be empty")
        self._clock = clock
        self._port = port
        self._max_connections = max_connections
        self._ca_file = ca_file
        self._faults = Faults(latency_seconds)
        self._endpoints = Endpoints(
            clock,
            lifetime_seconds,
            refresh_tokens=refresh_tokens,
            faults=self._faults,
            signer=_signer(jwt),
        )
        self._control = control_key and ControlEndpoint(self, control_key)
        self._wire: Wire | None = None
        self.add_client(self.client_id, self.client_secret, scopes)

    # ---- from start to stop

    def start(self) -> None:
        """Start to listen. A server can be started once.

        :raises RuntimeError: if it was started before.
        :raises OSError: if the port is not available, for example because it is in use, or if
            ``ca_file`` can't be written.
        """
        if self._wire is not None:
            raise RuntimeError("the server was started before. Create a new one.")
        tls, certificate = None, b""
        if self._ca_file is not None:
            from tokenkeeper.testing.certificate import certified_context  # loads cryptography

            tls, certificate = certified_context()
        wire = Wire(
            self._answer,
            self._faults.stopping,
            self._port,
            tls=tls,
            max_connections=self._max_connections,
        )
        if self._ca_file is not None:
            try:  # once the port is known to be free: another server may use the same file
                Path(self._ca_file).write_bytes(certificate)
            except OSError:
                wire.server_close()
                raise
        self._wire = wire
        self._wire.start()

    def stop(self) -> None:
        """End all connections and waits, and stop listening. Idempotent."""
        self._faults.stop()
        if self._wire is not None:
            self._wire.stop(STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _answer(self, request: Request) -> Answer | Literal["reset"]:
        path = urlsplit(request.target).path
        answer: Answer | Literal["reset"]
        if self._control and path.startswith(PREFIX):
            answer = self._control.answer(request, path)
        else:
            answer = self._endpoints.answer(request, self.issuer)
        if answer == "reset":
            return answer
        date = formatdate(self._clock.time(), usegmt=True)  # RFC 9110 §6.6.1
        return replace(answer, headers={"Date": date, **answer.headers})

    # ---- addresses

    @property
    def issuer(self) -> str:
        """The server's URL, without a trailing slash.

        :raises RuntimeError: before the server is started.
        """
        if self._wire is None:
            raise RuntimeError("the server has no address before it is started")
        scheme = "http" if self._ca_file is None else "https"
        return f"{scheme}://127.0.0.1:{self._wire.server_port}"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.issuer}/token"

    @property
    def introspection_url(self) -> str:
        """The introspection endpoint."""
        return f"{self.issuer}/introspect"

    @property
    def revocation_url(self) -> str:
        """The revocation endpoint (RFC 7009)."""
        return f"{self.issuer}/revoke"

    @property
    def jwks_url(self) -> str:
        """The public keys of JWTs; there are some if they are signed by RS256."""
        return f"{self.issuer}/jwks"

    @property
    def api_url(self) -> str:
        """A protected resource; every path under ``/api/`` is one."""
        return f"{self.issuer}/api/things"

    def config(self, provider_name: str = "demo", **changes: Any) -> OAuth2Config:
        """Return the registration of the server's first client, with *changes* to its fields."""
        fields = {
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "token_url": self.token_url,
            **changes,
        }
        return OAuth2Config(provider_name, **fields)

    def provider(self, provider_name: str = "demo", **options: Any) -> GenericOAuth2Provider:
        """Return a provider for the server's first client, on the server's clock.

        It renews by refresh tokens if this server grants them, and trusts its CA.

        :param options: arguments of :class:`~tokenkeeper.GenericOAuth2Provider`.
        """
        options.setdefault("clock", self._clock)
        options.setdefault("refresh_tokens", True)
        if self._ca_file is not None:
            options.setdefault("verify", self._ca_file)
        return GenericOAuth2Provider(self.config(provider_name), **options)

    def add_client(
        self, client_id: str, client_secret: str, scopes: Iterable[str] = ("read",)
    ) -> None:
        """Register a client, or replace one."""
        self._endpoints.grants.register(client_id, client_secret, scopes)


def _signer(jwt: bool | JWTAccessTokens) -> JWTSigner | None:
    if not jwt:
        return None
    from tokenkeeper.testing.jwts import JWTAccessTokens, JWTSigner  # loads cryptography

    return JWTSigner(JWTAccessTokens() if jwt is True else jwt)
