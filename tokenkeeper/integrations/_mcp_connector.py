"""Connects with an MCP server: one discovery, registration and sign-in for all that wait.

Nothing is locked while a server is asked or a person signs in, and no call of a tool waits for
another one. :mod:`tokenkeeper.integrations._mcp_steps` takes the steps.
"""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from dataclasses import replace

from tokenkeeper._renewal.flight import Flight
from tokenkeeper._runtime.fork import notice_fork, renew_after_fork
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    OAuth2Error,
    TokenWaitTimeoutError,
    own_copy,
)
from tokenkeeper.integrations._mcp_connection import Connection, Demand
from tokenkeeper.integrations._mcp_settings import McpSettings
from tokenkeeper.integrations._mcp_steps import McpSteps
from tokenkeeper.integrations._shared_work import start
from tokenkeeper.retry import is_transient

__all__ = ["McpConnector"]

PAUSE_SECONDS = 30.0
"""How long a failure is the answer to all requests: as long as a keeper's cooldown."""

SHORT_PAUSE_SECONDS = 2.0
"""The same for a failure that may pass."""

MOST_AGAIN = 2
"""How often a connection is replaced within :data:`AGAIN_SECONDS` because its tokens ended. A
server that refuses what it has just granted must not cause a sign-in for each request."""

AGAIN_SECONDS = 600.0


class McpConnector:
    """Has the connection of one client, and replaces it. Thread-safe and fork-safe.

    :ivar current: the connection; ``None`` before the first.
    """

    def __init__(self, settings: McpSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._steps = McpSteps(settings, clock)
        self.current: Connection | None = None
        self.after_fork_in_child()
        renew_after_fork(self)

    def after_fork_in_child(self) -> None:
        """Forget the work under way: its thread stayed with the parent."""
        self._lock = threading.Lock()  # guards the four below, and the replacement of current
        self._flight: Flight[Connection] | None = None
        self._failure: OAuth2Error | None = None
        self._paused_until = -math.inf
        self._again: tuple[float, ...] = ()

    def connect(self, demand: Demand, *, insist: bool = False) -> Connection:
        """Return a connection that meets *demand*; block until there is one.

        :param insist: whether to try even if that has just failed; ``False`` by default.
        :raises OAuth2Error: if there is none.
        """
        while True:
            found = self._join(demand, insist=insist)
            if isinstance(found, Connection):
                return found
            if not found.wait(self._settings.timeout):
                raise self._timeout_error()
            if (result := found.result()).meets(demand):
                return result

    async def connect_async(self, demand: Demand, *, insist: bool = False) -> Connection:
        """Do what :meth:`connect` does without blocking the event loop."""
        import anyio

        limit = self._settings.timeout
        while True:
            found = self._join(demand, insist=insist)
            if isinstance(found, Connection):
                return found
            with anyio.move_on_after(limit):
                await found.wait_async()
            if not found.is_settled:
                raise self._timeout_error()
            if (result := found.result()).meets(demand):
                return result

    def begin(self, demand: Demand) -> None:
        """Have a connection made that meets *demand*, without waiting for it."""
        with suppress(OAuth2Error):  # that it has just failed: the next request hears of it
            self._join(demand, insist=False)

    def _join(self, demand: Demand, *, insist: bool) -> Connection | Flight[Connection]:
        """Return the connection if it meets *demand*, or else the work that others wait for too.

        :raises OAuth2Error: if it has just failed.
        """
        notice_fork()
        with self._lock:
            current = self.current
            if current is not None and current.meets(demand):
                return current
            if self._flight is not None:
                return self._flight
            if not insist and self._failure and self._clock.monotonic() < self._paused_until:
                raise own_copy(self._failure)
            if current is not None and not insist and not demand.scope:
                self._note_again()
            flight = self._flight = Flight()
        start(flight, lambda: self._work(flight, demand, current), self._settings.provider_name)
        return flight

    def _note_again(self) -> None:
        """Note that a connection is replaced. Called with the lock held.

        :raises AuthorizationRequiredError: if that happened too often.
        """
        now = self._clock.monotonic()
        recent = [each for each in self._again if now < each + AGAIN_SECONDS]
        if len(recent) >= MOST_AGAIN:
            name = self._settings.provider_name
            raise AuthorizationRequiredError(
                f"provider {name!r}: its tokens were refused again and again, although they had "
                "just been granted. Ask the operator of the MCP server, then call connect().",
                provider_name=name,
                transient=False,
            )
        self._again = (*recent, now)

    def _work(
        self, flight: Flight[Connection], demand: Demand, before: Connection | None
    ) -> Connection:
        failure: OAuth2Error | None = None
        made: Connection | None = None
        try:
            made = self._steps.connect(demand, before)
            number = 1 if before is None else before.number + 1
            return (made := replace(made, number=number))
        except OAuth2Error as error:
            failure = error
            raise
        finally:
            with self._lock:
                if self._flight is flight:
                    self._flight = None
                    self._settle(made, failure)

    def _settle(self, made: Connection | None, failure: OAuth2Error | None) -> None:
        """Publish what came of the work. Called with the lock held."""
        self._failure = None if failure is None else own_copy(failure)
        if made is not None:
            self.current = made
        elif failure is not None:
            # A person may sign in elsewhere at any moment.
            soon = is_transient(failure) or isinstance(failure, AuthorizationRequiredError)
            pause = SHORT_PAUSE_SECONDS if soon else PAUSE_SECONDS
            self._paused_until = self._clock.monotonic() + pause

    def _timeout_error(self) -> TokenWaitTimeoutError:
        name = self._settings.provider_name
        return TokenWaitTimeoutError(
            f"provider {name!r}: the MCP server was not connected within the timeout. It may be "
            "waiting for a person to sign in. That goes on: call again, or allow more time.",
            provider_name=name,
            transient=True,
        )
