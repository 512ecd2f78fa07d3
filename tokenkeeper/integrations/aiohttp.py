"""``aiohttp``: a client middleware that puts the token on, and renews once where refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from types import MappingProxyType

import aiohttp
from yarl import URL

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._hosts import AllowedHosts, origin_of
from tokenkeeper.integrations._refusals import let_go_async, renewed_async, would_reject
from tokenkeeper.keeper import TokenKeeper, checked_pair
from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["KeeperMiddleware"]


class KeeperMiddleware(NotPicklable):
    """Authenticates the requests of a session with the token of a provider (RFC 6750 §2.1).

    .. code-block:: python

        middleware = KeeperMiddleware(keeper, "billing", allowed_hosts=["api.example.com"])
        async with aiohttp.ClientSession(middlewares=[middleware]) as session: ...

    An answer of 401 names the token that was refused: however many requests meet it at once, one
    renewal follows. The request is sent again, unless its body is a stream; the caller then gets
    the 401 at once, and the next request has the new token. A second 401 is the caller's. Where the
    API refuses freshly granted tokens, none is renewed for a while, and each 401 is the caller's.
    Places that are not allowed get no token, and are called all the same. Any number of sessions
    and event loops may share one.

    :param keeper: where tokens come from.
    :param provider_name: whose.
    :param allowed_hosts: the hosts that the token is for, such as ``"api.example.com"``,
        ``".example.com"`` or ``"api.example.com:8443"``; any that you call by default, by https,
        on loopback by http as well. ``"http://api.internal"`` names one to call in clear. A
        redirect takes the token along to hosts that are named here, and by default to the origin
        of the first request alone.
    :param timeout: seconds to wait for a token, at most.
    """

    def __init__(
        self,
        keeper: TokenKeeper,
        provider_name: str,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._manager = OAuth2TokenManager(checked_pair(keeper, provider_name, timeout))
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout
        self._leads = _Leads()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send *request*, twice if need be."""
        if self._hosts.are_named:
            if not self._hosts.allow(str(request.url)):
                return await handler(request)
            return await self._authenticate(request, handler)
        home = self._leads.arrived(request.url)
        if home is None:
            self._hosts.check(str(request.url))
            home = origin_of(str(request.url))
        if origin_of(str(request.url)) == home:
            response = await self._authenticate(request, handler)
        else:
            response = await handler(request)
        self._leads.leave(request.url, response, home)
        return response

    async def _authenticate(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.proxy is not None and request.url.scheme in ("http", "ws"):
            self._hosts.check_proxy(str(request.url))
        token = Hidden(await self._manager.get_token(self._provider_name, timeout=self._timeout))
        request.headers["Authorization"] = f"Bearer {token.text}"
        response = await handler(request)
        if response.status != 401:
            return response
        rejected = would_reject(self._manager.keeper, self._provider_name, token)
        if rejected or not _can_be_sent_again(request.body):
            try:
                await let_go_async(self._manager, self._provider_name, token)
            except BaseException:  # such as a cancellation: nobody will see the answer
                response.close()
                raise
            return response
        response.release()
        token = await renewed_async(self._manager, self._provider_name, token, self._timeout)
        request.headers["Authorization"] = f"Bearer {token.text}"
        return await handler(request)


_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_led: ContextVar[Mapping[object, tuple[object, object]]] = ContextVar(
    "led", default=MappingProxyType({})
)
"""By middleware: where the last answer led its task, and the origin that the token is for."""


class _Leads:
    """Knows a request that follows a redirect from one of the caller's.

    aiohttp calls a middleware for both alike, one after the other in the caller's task.
    """

    def arrived(self, url: URL) -> object:
        """Return the origin where the redirects that lead to *url* began; ``None`` without any."""
        led = _led.get()
        target, home = led.get(self, (None, None))
        if target is None or target != origin_of(str(url)):
            return None
        _led.set({other: lead for other, lead in led.items() if other is not self})
        return home

    def leave(self, url: URL, response: aiohttp.ClientResponse, home: object) -> None:
        """Note where *response* leads, if anywhere."""
        location = response.headers.get("Location") or response.headers.get("URI")
        if response.status in _REDIRECTS and location:
            try:
                target = origin_of(str(url.join(URL(location))))
            except ValueError:  # aiohttp will say what is wrong with it
                return
            _led.set({**_led.get(), self: (target, home)})


def _can_be_sent_again(body: object) -> bool:
    """Say whether all of *body* is still there, or can be read again.

    aiohttp knows by ``consumed``, but before 3.14.4 it calls an iterator that only when it has
    ended, and a server may refuse earlier.
    """
    if isinstance(body, aiohttp.MultipartWriter):
        return all(_can_be_sent_again(part) for part, *_ in body)
    is_iterator = isinstance(body, aiohttp.AsyncIterablePayload)
    return not is_iterator and not getattr(body, "consumed", False)
