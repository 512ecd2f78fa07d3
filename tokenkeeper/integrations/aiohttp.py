"""``aiohttp``: a client middleware that adds the token, and renews a refused one once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextvars import ContextVar
from functools import partial
from types import MappingProxyType

import aiohttp
from yarl import URL

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import set_token
from tokenkeeper.integrations._hosts import AllowedHosts, origin_of
from tokenkeeper.integrations._tokens import AsyncTokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.oauth.claims_challenge import claims_in
from tokenkeeper.source import TokenSource

__all__ = ["KeeperMiddleware"]


class KeeperMiddleware(NotPicklable):
    """Authenticates the requests of a session with the token of a provider (RFC 6750 §2.1).

    .. code-block:: python

        middleware = KeeperMiddleware(keeper, "billing", allowed_hosts=["api.example.com"])
        async with aiohttp.ClientSession(middlewares=[middleware]) as session: ...

    When an API answers 401, the token that it refused is renewed, and the request is sent again
    with the new one. However many requests are refused at once, one renewal follows. If the second
    answer is a 401 as well, the caller gets it. A body that is a stream is not sent again: the
    caller gets the 401 at once, and the next request has the new token. If the API refuses tokens
    that were just granted, no others are requested for a while, and callers get each 401.

    Requests to hosts that are not in *allowed_hosts* are sent without a token. Any number of
    sessions and event loops may share one middleware.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param allowed_hosts: the hosts that may get the token, such as ``"api.example.com"``,
        ``".example.com"`` or ``"api.example.com:8443"``. By default every host that you call by
        https, and loopback by http as well. ``"http://api.internal"`` allows plain http. A
        redirect takes the token along to the hosts that are listed here; without a list, only
        within the origin of the first request.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        allowed_hosts: Iterable[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._tokens = AsyncTokens(keeper, provider_name, timeout)
        self._hosts = AllowedHosts(self._tokens.provider_name, allowed_hosts)
        self._redirects = _Redirects()

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send *request*, and send it again if its token is refused."""
        if self._hosts.are_named:
            if not self._hosts.allow(str(request.url)):
                return await handler(request)
            return await self._authenticate(request, handler)
        home = self._redirects.follow(request.url)
        if home is None:
            self._hosts.check(str(request.url))
            home = origin_of(str(request.url))
        if origin_of(str(request.url)) == home:
            response = await self._authenticate(request, handler)
        else:
            response = await handler(request)
        self._redirects.note(request.url, response, home)
        return response

    async def _authenticate(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        if request.proxy is not None and request.url.scheme in ("http", "ws"):
            self._hosts.check_proxy(str(request.url))
        token = await self._tokens.get()
        set_token(request.headers, token)
        response = await handler(request)
        if response.status != 401:
            return response
        refusal = Refusal(
            token,
            can_be_resent=partial(_can_be_resent, request.body),
            release=response.release,
            close=response.close,
            claims=claims_in(", ".join(response.headers.getall("WWW-Authenticate", []))),
        )
        new = await self._tokens.replace(refusal)
        if new is None:
            return response
        set_token(request.headers, new)
        return await handler(request)


_REDIRECTS = frozenset({301, 302, 303, 307, 308})

_targets: ContextVar[Mapping[object, tuple[object, object]]] = ContextVar(
    "targets", default=MappingProxyType({})
)
"""For each middleware, the origin that the last response redirected the task to, and the origin
that the token is for."""


class _Redirects:
    """Recognizes a request that follows a redirect.

    aiohttp calls a middleware for both requests alike, one after the other in the caller's task.
    """

    def follow(self, url: URL) -> object:
        """Return the origin of the first request if redirects led to *url*, else ``None``."""
        targets = _targets.get()
        target, home = targets.get(self, (None, None))
        if target is None or target != origin_of(str(url)):
            return None
        _targets.set({key: value for key, value in targets.items() if key is not self})
        return home

    def note(self, url: URL, response: aiohttp.ClientResponse, home: object) -> None:
        """Note the origin that *response*, which *url* answered, redirects to, if any."""
        location = response.headers.get("Location") or response.headers.get("URI")
        if response.status in _REDIRECTS and location:
            try:
                target = origin_of(str(url.join(URL(location))))
            except ValueError:  # aiohttp raises an error that explains it
                return
            _targets.set({**_targets.get(), self: (target, home)})


def _can_be_resent(body: object) -> bool:
    """Return whether all of *body* is in memory, or can be read again.

    aiohttp's own ``consumed`` is not enough: before 3.14.4 it became true for an iterator only at
    the end, and a server may refuse earlier.
    """
    if isinstance(body, aiohttp.MultipartWriter):
        return all(_can_be_resent(part) for part, *_ in body)
    is_iterator = isinstance(body, aiohttp.AsyncIterablePayload)
    return not is_iterator and not getattr(body, "consumed", False)
