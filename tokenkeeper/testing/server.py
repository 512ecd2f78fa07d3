"""An authorization server with a protected API on loopback, with faults on demand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from email.utils import formatdate
from types import TracebackType
from typing import Any, Literal, Self

from tokenkeeper.clock import Clock
from tokenkeeper.models import OAuth2Config
from tokenkeeper.providers.generic import GenericOAuth2Provider
from tokenkeeper.testing.current import CURRENT_CLOCK
from tokenkeeper.testing.endpoints import Endpoints, Request
from tokenkeeper.testing.faults import Answer, Faults, Outage
from tokenkeeper.testing.stats import ServerStats
from tokenkeeper.testing.wire import Wire

__all__ = ["LoopbackAuthorizationServer"]

STOP_SECONDS = 2.0
"""How long stop() waits for connections to end."""


class LoopbackAuthorizationServer:
    """A real HTTP server on 127.0.0.1 that grants and checks tokens.

    .. code-block:: python

        with LoopbackAuthorizationServer(lifetime_seconds=4) as server:
            keeper.add_provider(GenericOAuth2Provider(server.config("api")))
            server.go_down("503")
            ...
            assert server.stats().api_dead == 0

    It offers the grants ``client_credentials`` and ``refresh_token`` (RFC 6749 §4.4, §6) to
    clients that use ``client_secret_basic`` or ``client_secret_post``, introspection (RFC 7662),
    metadata (RFC 8414) and, under ``/api/``, a protected resource (RFC 6750). A refresh token
    works once; its second use revokes all tokens of the same grant. Thread-safe.

    :param lifetime_seconds: the lifetime of tokens, an hour by default; may be assigned to.
    :param latency_seconds: how long the token endpoint takes to answer, in real time; 0 by default;
        may be assigned to.
    :param refresh_tokens: whether to grant refresh tokens too; ``False`` by default; may be
        assigned to.
    :param clock: the server's clock, by which tokens expire and answers are dated; by default that
        of the test.
    :param port: the port to listen on; by default a free one.

    One client is registered from the start: ``client_id`` and ``client_secret``, with the scopes
    ``read`` and ``write``.
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
    ) -> None:
        self._clock = clock
        self._port = port
        self._faults = Faults(latency_seconds)
        self._endpoints = Endpoints(
            clock, lifetime_seconds, refresh_tokens=refresh_tokens, faults=self._faults
        )
        self._wire: Wire | None = None
        self.add_client(self.client_id, self.client_secret, ["read", "write"])

    # ---- from start to stop

    def start(self) -> None:
        """Start to listen. A server can be started once.

        :raises RuntimeError: if it was started before.
        :raises OSError: if the port is not available, for example because it is in use.
        """
        if self._wire is not None:
            raise RuntimeError("the server was started before. Create a new one.")
        self._wire = Wire(self._answer, self._faults.stopping, self._port)
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
        return f"http://127.0.0.1:{self._wire.server_port}"

    @property
    def token_url(self) -> str:
        """The token endpoint."""
        return f"{self.issuer}/token"

    @property
    def introspection_url(self) -> str:
        """The introspection endpoint."""
        return f"{self.issuer}/introspect"

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

        It renews by refresh tokens if this server grants them.

        :param options: arguments of :class:`~tokenkeeper.GenericOAuth2Provider`.
        """
        options.setdefault("clock", self._clock)
        options.setdefault("refresh_tokens", True)
        return GenericOAuth2Provider(self.config(provider_name), **options)

    def add_client(
        self, client_id: str, client_secret: str, scopes: Iterable[str] = ("read",)
    ) -> None:
        """Register a client, or replace one."""
        self._endpoints.grants.register(client_id, client_secret, scopes)

    # ---- faults

    @property
    def lifetime_seconds(self) -> float:
        """The lifetime of tokens granted from now on."""
        return self._endpoints.lifetime_seconds

    @lifetime_seconds.setter
    def lifetime_seconds(self, seconds: float) -> None:
        self._endpoints.lifetime_seconds = seconds

    @property
    def latency_seconds(self) -> float:
        """How many seconds the token endpoint takes to answer from now on."""
        return self._faults.latency_seconds

    @latency_seconds.setter
    def latency_seconds(self, seconds: float) -> None:
        self._faults.latency_seconds = seconds

    @property
    def refresh_tokens(self) -> bool:
        """Whether tokens granted from now on come with a refresh token, which works once."""
        return self._endpoints.refresh_tokens

    @refresh_tokens.setter
    def refresh_tokens(self, granted: bool) -> None:
        self._endpoints.refresh_tokens = granted

    @property
    def down(self) -> Outage | None:
        """How the token endpoint is down; ``None`` while it is up."""
        return self._faults.outage

    def go_down(self, mode: Outage = "503", *, retry_after: float | None = None) -> None:
        """Take the token endpoint down; the API goes on.

        :param mode: "503" answers with that status, "reset" resets the connection, and "stall" does
            not answer until the outage ends, and then resets the connection.
        :param retry_after: the seconds in the ``Retry-After`` of a 503; none by default.
        """
        self._faults.go_down(mode, retry_after)

    def come_back(self) -> None:
        """End the outage."""
        self._faults.come_back()

    @contextmanager
    def outage(self, mode: Outage = "503", *, retry_after: float | None = None) -> Iterator[None]:
        """Take the token endpoint down until the block ends."""
        self.go_down(mode, retry_after=retry_after)
        try:
            yield
        finally:
            self.come_back()

    def script(self, *answers: Answer) -> None:
        """Have the token endpoint give *answers*, one for each request."""
        self._faults.script(*answers)

    def refuse(
        self,
        error: str = "invalid_client",
        description: str = "refused by the test",
        *,
        times: int = 1,
    ) -> None:
        """Have the token endpoint refuse the next requests (RFC 6749 §5.2).

        :param error: the error code; "invalid_client" has status 401, others 400.
        :param description: the error description.
        :param times: how many requests to refuse; 1 by default.
        """
        status = 401 if error == "invalid_client" else 400
        body = {"error": error, "error_description": description}
        self.script(*[Answer(status, body)] * times)

    def refuse_api_calls(self, times: int = 1) -> None:
        """Have the API answer the next calls with 401, even if their tokens are valid."""
        self._endpoints.refuse_api_calls(times)

    # ---- tokens

    def revoke(self, token: str) -> bool:
        """Revoke a token and all tokens of its grant; return whether it was known."""
        return self._endpoints.grants.revoke(token)

    def is_alive(self, token: str) -> bool:
        """Return whether the server granted *token*, and it is neither expired nor revoked."""
        return self._endpoints.grants.problem(token) is None

    def revoke_all(self) -> None:
        """Revoke every token granted so far."""
        self._endpoints.grants.revoke_all()

    def stats(self) -> ServerStats:
        """Return what the server has seen so far."""
        return self._endpoints.recorder.snapshot()
