"""``mcp`` and ``fastmcp``: an ``auth=`` that finds out where an MCP server's tokens come from."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from contextlib import aclosing
from typing import Any, NamedTuple, TypeAlias

import httpx2

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper.exceptions import (
    AuthorizationRequiredError,
    OAuth2Error,
    TokenAcquisitionError,
)
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._mcp_connection import Connection, Demand
from tokenkeeper.integrations._mcp_connector import McpConnector
from tokenkeeper.integrations._mcp_settings import checked_settings
from tokenkeeper.integrations._mcp_sign_in import open_browser
from tokenkeeper.integrations._mcp_steps import CLIENT_REFUSED
from tokenkeeper.integrations.httpx2 import KeeperAuth
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.oauth.client_auth import ClientAuth
from tokenkeeper.providers.grants.base import Grant
from tokenkeeper.source import TokenSource

__all__ = ["McpAuth"]

MOST_STEP_UPS = 2
"""How often one request may widen the scope: what it needs, and what it was found to need then."""


class McpAuth(NotPicklable, httpx2.Auth):
    """Authenticates requests to one MCP server, as MCP's authorization specification says.

    Any number of clients, threads and event loops may share it. Nothing is locked during a call,
    so parallel calls stay parallel; however many are refused at once, there is one discovery, one
    registration and one sign-in.

    The first request is sent without a token. When the server refuses it, its metadata names the
    authorization server (RFC 9728), whose own metadata is read (RFC 8414, OpenID Connect
    Discovery). A client is the one given, or one that publishes its metadata, or is registered
    (RFC 7591). Then a person signs in, in a browser, with PKCE, or *grant* gets the token. From
    then on tokens are renewed as all tokens of a keeper: in the background, and once after a 401.
    If the server demands a wider scope (403), another sign-in asks for that and all earlier ones.

    Refresh tokens and the registered client are kept in *custody*, or the keeper's store, or else
    in memory. With the first two a new process neither registers a client nor opens a browser.

    :param keeper: the keeper that gets the tokens.
    :param url: the URL of the MCP server. Tokens are sent to its origin only.
    :param provider_name: the name of the tokens' provider in *keeper*, which this adds; *url* by
        default.
    :param account: whose tokens, if several people sign in; ``None``, the default, for one.
    :param scope: the scope to begin with; by default what the server demands, or else what it
        lists.
    :param client_id: a client that you registered; by default none.
    :param client_secret: its secret, if it has one. Needs *issuer*.
    :param client_auth: how it authenticates otherwise, such as
        :class:`~tokenkeeper.PrivateKeyJwt`. Needs *issuer*.
    :param issuer: the only authorization server to use; by default the first that the MCP server
        lists.
    :param client_metadata_url: an https URL at which you publish the client's metadata. It is the
        ``client_id`` where the server supports that.
    :param client_name: the name of the program, which people see when they sign in.
    :param grant: how to get tokens; by default a person signs in. ``ClientCredentials()`` is for
        programs on their own.
    :param redirect_port: the port for the answer of the browser; by default a free one.
    :param custody: where refresh tokens and the registered client are kept, in the form of a
        keeper's ``store=``; by default in the keeper's store.
    :param on_sign_in: called with the URL at which a person signs in, on a thread of its own; by
        default it opens the browser. With ``None`` no one is asked, and
        requests raise ``AuthorizationRequiredError``.
    :param sign_in_timeout_seconds: how long a person has; 300 seconds by default.
    :param timeout: seconds that a request waits for a token at most; by default there is no limit.
    :param verify: a file or directory of CA certificates for all requests but those of the MCP
        client itself; by default the usual ones.
    :raises InvalidConfigurationError: naming the parameter that can't work.
    """

    def __init__(
        self,
        keeper: TokenKeeper,
        url: str,
        *,
        provider_name: str | None = None,
        account: str | None = None,
        scope: str | Iterable[str] | None = None,
        client_id: str | None = None,
        client_secret: str | None = None,
        client_auth: ClientAuth | None = None,
        issuer: str | None = None,
        client_metadata_url: str | None = None,
        client_name: str = "Tokenkeeper",
        grant: Grant | None = None,
        redirect_port: int | None = None,
        custody: object = None,
        on_sign_in: Callable[[str], object] | None = open_browser,
        sign_in_timeout_seconds: float = 300.0,
        timeout: float | None = None,
        verify: bool | str | None = None,
    ) -> None:
        self._settings = checked_settings(
            keeper,
            url,
            provider_name=provider_name,
            account=account,
            scope=scope,
            client_id=client_id,
            client_secret=client_secret,
            client_auth=client_auth,
            issuer=issuer,
            client_metadata_url=client_metadata_url,
            client_name=client_name,
            grant=grant,
            redirect_port=redirect_port,
            custody=custody,
            on_sign_in=on_sign_in,
            sign_in_timeout_seconds=sign_in_timeout_seconds,
            timeout=timeout,
            verify=verify,
        )
        self._connector = McpConnector(self._settings, keeper._clock)  # noqa: SLF001 - a part of it
        self._hosts = AllowedHosts(self._settings.provider_name, [self._settings.origin])

    def connect(self) -> TokenSource:
        """Sign in now if that is needed, and return the source of the tokens. Blocks.

        For programs that should not wait for a person in the middle of a call.

        :raises OAuth2Error: if a step fails.
        """
        current, demand = self._connector.current, Demand()
        if current is not None:
            try:
                current.source.token(timeout=self._settings.timeout)
            except TokenAcquisitionError as error:
                demand = _after(error, current)
            else:
                return current.source
        return self._connector.connect(demand, insist=True).source

    async def connect_async(self) -> TokenSource:
        """Do what :meth:`connect` does without blocking the event loop."""
        current, demand = self._connector.current, Demand()
        if current is not None:
            try:
                await current.source.aio.token(timeout=self._settings.timeout)
            except TokenAcquisitionError as error:
                demand = _after(error, current)
            else:
                return current.source
        return (await self._connector.connect_async(demand, insist=True)).source

    def sync_auth_flow(
        self, request: httpx2.Request
    ) -> Generator[httpx2.Request, httpx2.Response, None]:
        """Authenticate *request* for a blocking client."""
        steps = self._steps(request)
        result: object = None
        try:
            step = next(steps)
            while True:
                try:
                    if isinstance(step, Demand):
                        result = self._connector.connect(step)
                    elif isinstance(step, _Release):
                        result = step.response.read()
                    elif step.auth is None:
                        result = yield step.request
                    else:
                        flow = step.auth.sync_auth_flow(step.request)
                        outgoing: httpx2.Request | None = next(flow)
                        while outgoing is not None:
                            result = yield outgoing
                            outgoing = _sent(flow, result)
                except OAuth2Error as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration:
            return

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Authenticate *request* for an async client, under asyncio or trio."""
        steps = self._steps(request)
        result: object = None
        try:
            step = next(steps)
            while True:
                try:
                    if isinstance(step, Demand):
                        result = await self._connector.connect_async(step)
                    elif isinstance(step, _Release):
                        result = await step.response.aread()
                    elif step.auth is None:
                        result = yield step.request
                    else:
                        async with aclosing(step.auth.async_auth_flow(step.request)) as flow:
                            outgoing: httpx2.Request | None = await anext(flow)
                            while outgoing is not None:
                                result = yield outgoing
                                outgoing = await _sent_async(flow, result)
                except OAuth2Error as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration:
            return

    def _steps(self, request: httpx2.Request) -> Generator[_Step, Any, None]:
        """Yield what to do for *request*; expect the result, or error, of each."""
        self._hosts.check(str(request.url))
        connection = self._connector.current
        if connection is None:
            response: httpx2.Response = yield _Send(request, None)
            if response.status_code != 401 or not self._is_from_server(response):
                return
            first = Demand.of(response)
            if not self._will_repeat(response, first):
                return
            yield _Release(response)
            connection, request = (yield first), response.request
        step_ups, reconnects = 0, 0
        while True:
            try:
                response = yield _Send(request, connection.auth)
            except TokenAcquisitionError as error:
                demand = _after(error, connection)
                if reconnects:
                    raise
                reconnects += 1
            else:
                wider = _step_up(response, connection)
                if wider is None or step_ups == MOST_STEP_UPS:
                    return
                if not (self._is_from_server(response) and self._will_repeat(response, wider)):
                    return
                step_ups += 1
                yield _Release(response)
                demand, request = wider, response.request
            connection = yield demand

    def _is_from_server(self, response: httpx2.Response) -> bool:
        """Return whether the MCP server responded, and no one that a redirect led to.

        Another one must not say where a person signs in, or for what.
        """
        return self._hosts.allow(str(response.request.url))

    def _will_repeat(self, response: httpx2.Response, demand: Demand) -> bool:
        """Return whether the request can be sent again. If not, later ones find a connection."""
        if isinstance(response.request.stream, httpx2.ByteStream):  # it is in memory
            return True
        self._connector.begin(demand)
        return False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._settings.provider_name!r}>"


class _Send(NamedTuple):
    """Send a request; the result is the last response.

    :ivar auth: authenticates it; ``None`` to send it without a token.
    """

    request: httpx2.Request
    auth: KeeperAuth | None


class _Release(NamedTuple):
    """Read a response to its end, which frees its connection while a person signs in."""

    response: httpx2.Response


_Step: TypeAlias = _Send | _Release | Demand
"""A demand asks for a connection that meets it."""


def _sent(
    flow: Generator[httpx2.Request, httpx2.Response, None], response: httpx2.Response
) -> httpx2.Request | None:
    """Return the request that follows *response*; ``None`` if it is the caller's."""
    try:
        return flow.send(response)
    except StopIteration:
        return None


async def _sent_async(
    flow: AsyncGenerator[httpx2.Request, httpx2.Response], response: httpx2.Response
) -> httpx2.Request | None:
    """Return the request that follows *response*; ``None`` if it is the caller's."""
    try:
        return await flow.asend(response)
    except StopAsyncIteration:
        return None


def _step_up(response: httpx2.Response, connection: Connection) -> Demand | None:
    """Return what to ask for so that *response* turns into a success; ``None`` if nothing would.

    Asking again for what was asked for before would not: the server has reasons of its own.
    """
    if response.status_code != 403:
        return None
    demand = Demand.of(response)
    if demand.challenge.error != "insufficient_scope":
        return None
    needed = tuple(demand.challenge.scope.split()) or connection.known_scope
    if set(needed) <= set(connection.scope):
        return None
    return demand._replace(scope=needed)


def _after(error: TokenAcquisitionError, connection: Connection) -> Demand:
    """Return what another connection must do so that there is a token again.

    :raises TokenAcquisitionError: *error*, if none would help.
    """
    demand = Demand(after=connection.number)
    if isinstance(error, AuthorizationRequiredError):
        return demand
    if error.error in CLIENT_REFUSED and connection.client.kind == "registered":
        return demand._replace(is_refused=True)
    raise error
