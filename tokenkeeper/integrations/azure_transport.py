"""``azure-core``: transports of Azure clients that renew a refused token once.

.. code-block:: python

    blobs = BlobServiceClient(
        "https://contoso.blob.core.windows.net",
        KeeperCredential(keeper, "storage"),
        transport=RenewingTransport(keeper, "storage"),
    )
"""

from __future__ import annotations

from collections.abc import Iterable
from inspect import isawaitable
from types import TracebackType
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

from anyio import CancelScope
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import AsyncHttpTransport, HttpTransport

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.exceptions import OAuth2Error
from tokenkeeper.integrations._bodies import position_of, rewind
from tokenkeeper.integrations._hosts import AllowedHosts, origin_of
from tokenkeeper.integrations._refusals import (
    let_go,
    let_go_async,
    renewed,
    renewed_async,
    would_reject,
)
from tokenkeeper.keeper import TokenKeeper, checked_pair
from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["AsyncRenewingTransport", "RenewingTransport"]


_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})


class RenewingTransport(NotPicklable, HttpTransport[Any, Any]):
    """Sends the requests of a blocking client, and renews the token once where it is refused.

    An answer of 401 names the token that was refused: however many requests meet it at once, one
    renewal follows. The request is sent again if its body can be; if not the caller gets the 401
    at once, and the next request has the new token. A second 401 is the caller's. Where the API
    refuses freshly granted tokens, none is renewed for a while, and each 401 is the caller's.
    Thread-safe if the transport below is.

    :param keeper: where tokens come from.
    :param provider_name: whose; the same that the client's credential has.
    :param transport: what sends; azure-core's ``RequestsTransport`` by default. It is opened and
        closed with this one.
    :param allowed_hosts: the hosts that the token is for, such as ``".blob.core.windows.net"`` or
        ``"api.example.com:8443"``; any that the client calls by default, by https, on loopback by
        http as well. By default a redirect to another origin leaves the token behind, whatever
        the policies of the pipeline do.
    :param timeout: seconds to wait for a token, at most.
    """

    def __init__(
        self,
        keeper: TokenKeeper,
        provider_name: str,
        transport: HttpTransport[Any, Any] | None = None,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        if transport is None:
            from azure.core.pipeline.transport import RequestsTransport

            transport = RequestsTransport()
        self._transport = transport
        self._keeper = checked_pair(keeper, provider_name, timeout)
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout

    def send(self, request: Any, **options: Any) -> Any:
        """Send *request*.

        :raises azure.core.exceptions.ClientAuthenticationError: if there is no token in the place
            of the one that was refused, or the host may not have it.
        """
        shown = _Shown.by(request, self._hosts)
        response = self._transport.send(request, **options)
        _note_redirect(request, response)
        if shown is None or response.status_code != 401:
            return response
        rejected = would_reject(self._keeper, self._provider_name, shown.token)
        if rejected or not shown.rewind(request):
            let_go(self._keeper, self._provider_name, shown.token)
            return response
        _closing(response)
        try:
            token = renewed(self._keeper, self._provider_name, shown.token, self._timeout)
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error), response=response) from error
        request.headers["Authorization"] = f"Bearer {token.text}"
        response = self._transport.send(request, **options)
        _note_redirect(request, response)
        return response

    def open(self) -> None:
        """Open the transport below."""
        self._transport.open()

    def close(self) -> None:
        """Close the transport below."""
        self._transport.close()

    def sleep(self, duration: float) -> None:
        """Sleep for *duration* seconds, as the transport below does."""
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
    """The same for an async client, under asyncio and trio.

    Its parameters are those of :class:`RenewingTransport`, but that the transport below is
    azure-core's ``AioHttpTransport`` by default. That one needs aiohttp, and asyncio. It belongs to
    the event loop that the transport below belongs to.
    """

    def __init__(
        self,
        keeper: TokenKeeper,
        provider_name: str,
        transport: AsyncHttpTransport[Any, Any] | None = None,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        if transport is None:
            from azure.core.pipeline.transport import AioHttpTransport

            transport = AioHttpTransport()
        self._transport = transport
        self._manager = OAuth2TokenManager(checked_pair(keeper, provider_name, timeout))
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout

    async def send(self, request: Any, **options: Any) -> Any:
        """Send *request*: :meth:`RenewingTransport.send`."""
        shown = _Shown.by(request, self._hosts)
        response = await self._transport.send(request, **options)
        _note_redirect(request, response)
        if shown is None or response.status_code != 401:
            return response
        rejected = would_reject(self._manager.keeper, self._provider_name, shown.token)
        if rejected or not shown.rewind(request):
            try:
                await let_go_async(self._manager, self._provider_name, shown.token)
            except BaseException:  # such as a cancellation: nobody will see the answer
                with CancelScope(shield=True):
                    await _done(_closing(response))
                raise
            return response
        await _done(_closing(response))
        try:
            token = await renewed_async(
                self._manager, self._provider_name, shown.token, self._timeout
            )
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error), response=response) from error
        request.headers["Authorization"] = f"Bearer {token.text}"
        response = await self._transport.send(request, **options)
        _note_redirect(request, response)
        return response

    async def open(self) -> None:
        """Open the transport below."""
        await _done(self._transport.open())

    async def close(self) -> None:
        """Close the transport below."""
        await _done(self._transport.close())

    async def sleep(self, duration: float) -> None:
        """Sleep for *duration* seconds, as the transport below does."""
        await _done(self._transport.sleep(duration))

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


class _Shown(NamedTuple):
    """The token that a request shows, and where its body stood before it was sent."""

    token: Hidden[str]
    position: int | None

    @classmethod
    def by(cls, request: Any, hosts: AllowedHosts) -> _Shown | None:
        """Look at *request*; ``None`` if it shows no token, as after a redirect elsewhere."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer":
            return None
        home = _homes.get(request)
        if home is not None and not hosts.are_named and origin_of(request.url) != home:
            del request.headers["Authorization"]
            return None
        try:
            hosts.check(request.url)
        except OAuth2Error as error:
            raise ClientAuthenticationError(str(error)) from error
        return cls(Hidden(token), position_of(request.data))

    def rewind(self, request: Any) -> bool:
        """Make the body of *request* ready to be sent again; ``False`` if that can't be."""
        return not request.files and rewind(request.data, self.position)


_homes: WeakKeyDictionary[Any, object] = WeakKeyDictionary()
"""Of requests that were redirected: the origin that they were for at first."""


def _note_redirect(request: Any, response: Any) -> None:
    """Note where *request* came from, if *response* leads it elsewhere.

    azure-core sends the same object again, with another URL in it. So do its retries, which may
    turn to another host of the same service; those keep the token.
    """
    if response.status_code in _REDIRECTS and request not in _homes:
        _homes[request] = origin_of(request.url)


async def _done(result: Any) -> None:
    """Await *result* if that can be: not all that is async in azure-core is so all through."""
    if isawaitable(result):
        await result


def _closing(response: Any) -> Any:
    """Let go of the connection of *response*; return what is to be awaited, if anything is."""
    close = getattr(response, "close", None) or response.internal_response.close
    return close()
