"""``azure-core``: transports for Azure clients that renew a refused token once.

.. code-block:: python

    blobs = BlobServiceClient(
        "https://contoso.blob.core.windows.net",
        KeeperCredential(keeper, "storage"),
        transport=RenewingTransport(keeper, "storage"),
    )
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

from anyio import CancelScope
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AsyncHttpTransport, HttpTransport

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import HEADER, set_token, token_in
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.integrations._bodies import position_of, rewind
from tokenkeeper.integrations._hosts import AllowedHosts, origin_of
from tokenkeeper.integrations._tokens import AsyncTokens, Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.oauth.claims_challenge import claims_in
from tokenkeeper.source import TokenSource

__all__ = ["AsyncRenewingTransport", "RenewingTransport"]


class RenewingTransport(NotPicklable, HttpTransport[Any, Any]):
    """Sends the requests of a blocking client, and renews a refused token once.

    When an API answers 401, the token that it refused is renewed, and the request is sent again
    with the new one. However many requests are refused at once, one renewal follows. If the second
    answer is a 401 as well, the caller gets it. A body that can be read only once is not sent
    again: the caller gets the 401 at once, and the next request has the new token. If the API
    refuses tokens that were just granted, no others are requested for a while, and callers get
    each 401. Thread-safe if the wrapped transport is.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider that the client's credential uses.
    :param transport: the transport that sends; azure-core's ``RequestsTransport`` by default. It
        is opened and closed together with this one.
    :param allowed_hosts: the hosts that may get the token, such as ``".blob.core.windows.net"`` or
        ``"api.example.com:8443"``. By default every host that the client calls by https, and
        loopback by http as well; a redirect to another origin then removes the token, whatever the
        policies of the pipeline do.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        transport: HttpTransport[Any, Any] | None = None,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        if transport is None:
            from azure.core.pipeline.transport import RequestsTransport

            transport = RequestsTransport()
        self._transport = transport
        self._tokens = Tokens(keeper, provider_name, timeout)
        self._hosts = AllowedHosts(self._tokens.provider_name, allowed_hosts)

    def send(self, request: Any, **options: Any) -> Any:
        """Send *request*, and send it again if its token is refused.

        :raises azure.core.exceptions.ClientAuthenticationError: if there is no token to replace
            the refused one, or the host may not get it.
        """
        carried = _Carried.by(request, self._hosts)
        response = self._transport.send(request, **options)
        _note_redirect(request, response)
        if carried is None or response.status_code != 401:
            return response
        refusal = carried.refusal(request, response, close=partial(_close, response))
        try:
            token = self._tokens.replace(refusal)
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error), response=response) from error
        if token is None:
            return response
        set_token(request.headers, token)
        response = self._transport.send(request, **options)
        _note_redirect(request, response)
        return response

    def open(self) -> None:
        """Open the wrapped transport."""
        self._transport.open()

    def close(self) -> None:
        """Close the wrapped transport."""
        self._transport.close()

    def sleep(self, duration: float) -> None:
        """Sleep for *duration* seconds, as the wrapped transport does."""
        self._transport.sleep(duration)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncRenewingTransport(NotPicklable, AsyncHttpTransport[Any, Any]):
    """Sends the requests of an async client, under asyncio and trio; renews a refused token once.

    It does what :class:`RenewingTransport` does and has the same parameters. Its default for
    *transport* is azure-core's ``AioHttpTransport``, which needs aiohttp and asyncio. It belongs
    to the same event loop as the wrapped transport.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        transport: AsyncHttpTransport[Any, Any] | None = None,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        if transport is None:
            from azure.core.pipeline.transport import AioHttpTransport

            transport = AioHttpTransport()
        self._transport = transport
        self._tokens = AsyncTokens(keeper, provider_name, timeout)
        self._hosts = AllowedHosts(self._tokens.provider_name, allowed_hosts)

    async def send(self, request: Any, **options: Any) -> Any:
        """Send *request*: :meth:`RenewingTransport.send`."""
        carried = _Carried.by(request, self._hosts)
        response = await self._transport.send(request, **options)
        _note_redirect(request, response)
        if carried is None or response.status_code != 401:
            return response
        refusal = carried.refusal(request, response, close=partial(_close_shielded, response))
        try:
            token = await self._tokens.replace(refusal)
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error), response=response) from error
        if token is None:
            return response
        set_token(request.headers, token)
        response = await self._transport.send(request, **options)
        _note_redirect(request, response)
        return response

    async def open(self) -> None:
        """Open the wrapped transport."""
        await _awaited(self._transport.open())

    async def close(self) -> None:
        """Close the wrapped transport."""
        await _awaited(self._transport.close())

    async def sleep(self, duration: float) -> None:
        """Sleep for *duration* seconds, as the wrapped transport does."""
        await _awaited(self._transport.sleep(duration))

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


class _Carried(NamedTuple):
    """The token that a request carries, and the position in its body before it is sent."""

    token: Hidden[str]
    position: int | None

    @classmethod
    def by(cls, request: Any, hosts: AllowedHosts) -> _Carried | None:
        """Look at *request*; return ``None`` if it carries no token.

        The token is removed if redirects have led the request to another origin.

        :raises azure.core.exceptions.ClientAuthenticationError: if the host may not get it.
        """
        token = token_in(request.headers)
        if token is None:
            return None
        home = _homes.get(request)
        if home is not None and not hosts.are_named and origin_of(request.url) != home:
            del request.headers[HEADER]
            return None
        try:
            hosts.check(request.url)
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error)) from error
        return cls(token, position_of(request.data))

    def refusal(self, request: Any, response: Any, close: Callable[[], object]) -> Refusal:
        """Describe *response* for the 401 flow."""
        return Refusal(
            self.token,
            can_be_resent=lambda: not request.files and rewind(request.data, self.position),
            release=partial(_close, response),
            close=close,
            claims=claims_in(response.headers.get("WWW-Authenticate")),
        )


_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})

_homes: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
"""The origin that each redirected request was for at first."""


def _note_redirect(request: Any, response: Any) -> None:
    """Note the origin of *request* if *response* redirects it.

    azure-core follows a redirect by sending the same object with another URL. Its retries do so
    too, to reach another host of the same service, and those keep the token.
    """
    if response.status_code in _REDIRECTS and request not in _homes:
        _homes[request] = origin_of(request.url)


async def _awaited(result: Any) -> None:
    """Await *result* if it is awaitable: some methods of async transports are plain functions."""
    if isawaitable(result):
        await result


def _close(response: Any) -> Any:
    """Free the connection of *response*; return an awaitable if that takes one."""
    close = getattr(response, "close", None) or response.internal_response.close
    return close()


async def _close_shielded(response: Any) -> None:
    """Free the connection of *response*, although the caller was cancelled."""
    with CancelScope(shield=True):
        await _awaited(_close(response))
