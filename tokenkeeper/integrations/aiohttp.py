"""``aiohttp``: a client middleware that puts the token on, and renews once where refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import aiohttp

from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._refusals import let_go_async, renewed_async, would_reject
from tokenkeeper.manager import OAuth2TokenManager

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper

__all__ = ["KeeperMiddleware"]


class KeeperMiddleware:
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
        ``".example.com"`` or ``"api.example.com:8443"``, called by https, on loopback by http as
        well. They must be named: aiohttp calls its middlewares for each redirect as for a
        request, and it may lead anywhere.
    :param timeout: seconds to wait for a token, at most.
    """

    def __init__(
        self,
        keeper: TokenKeeper,
        provider_name: str,
        *,
        allowed_hosts: Iterable[str],
        timeout: float | None = None,
    ) -> None:
        self._manager = OAuth2TokenManager(keeper)
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        """Send *request*, twice if need be."""
        if not self._hosts.allow(str(request.url)):
            return await handler(request)
        token = await self._manager.get_token(self._provider_name, timeout=self._timeout)
        request.headers["Authorization"] = f"Bearer {token}"
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
        request.headers["Authorization"] = f"Bearer {token}"
        return await handler(request)


def _can_be_sent_again(body: object) -> bool:
    """Say whether all of *body* is still there, or can be read again.

    aiohttp knows by ``consumed``, but before 3.14.4 it calls an iterator that only when it has
    ended, and a server may refuse earlier.
    """
    if isinstance(body, aiohttp.MultipartWriter):
        return all(_can_be_sent_again(part) for part, *_ in body)
    is_iterator = isinstance(body, aiohttp.AsyncIterablePayload)
    return not is_iterator and not getattr(body, "consumed", False)
