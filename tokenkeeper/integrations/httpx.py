"""``httpx``: an ``auth=`` for blocking and async clients that renews a refused token once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from functools import partial
from typing import Any

import httpx

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import carries, set_token
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._tokens import AsyncTokens, Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.source import TokenSource

__all__ = ["KeeperAuth"]


class KeeperAuth(NotPicklable, httpx.Auth):
    """Authenticates requests with the token of a provider (RFC 6750 §2.1).

    Any number of clients, threads and event loops may share it. When an API answers 401, the token
    that it refused is renewed, and the request is sent again with the new one. However many
    requests are refused at once, one renewal follows. If the second answer is a 401 as well, the
    caller gets it. A body that is a stream is not sent again: the caller gets the 401 at once, and
    the next request has the new token. If the API refuses tokens that were just granted, no others
    are requested for a while, and callers get each 401.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param allowed_hosts: the hosts that may get the token, such as ``"api.example.com"``,
        ``".example.com"`` or ``"api.example.com:8443"``. By default every host that you call by
        https, and loopback by http as well. ``"http://api.internal"`` allows plain http. A
        redirect to another host, scheme or port never takes the token along, except from http up
        to https on the usual ports of the same host.
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
        self._tokens = Tokens(keeper, provider_name, timeout)
        self._async_tokens = AsyncTokens(keeper, provider_name, timeout)
        self._hosts = AllowedHosts(self._tokens.provider_name, allowed_hosts)

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate *request* for a blocking client."""
        self._hosts.check(str(request.url))
        token = self._tokens.get()
        response = yield _with_token(request, token)
        if _is_refusal(response, token):
            new = self._tokens.replace(_refusal(response, token, release=response.read))
            if new is not None:
                yield _with_token(response.request, new)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authenticate *request* for an async client, under asyncio or trio."""
        self._hosts.check(str(request.url))
        token = await self._async_tokens.get()
        response = yield _with_token(request, token)
        if _is_refusal(response, token):
            refusal = _refusal(response, token, release=response.aread)
            new = await self._async_tokens.replace(refusal)
            if new is not None:
                yield _with_token(response.request, new)


def _with_token(request: httpx.Request, token: Hidden[str]) -> httpx.Request:
    set_token(request.headers, token)
    return request


def _is_refusal(response: httpx.Response, token: Hidden[str]) -> bool:
    """Return whether a server refused *token*.

    After a redirect to another origin the request has no token, and a 401 says nothing about it.
    """
    return response.status_code == 401 and carries(response.request.headers, token)


def _refusal(
    response: httpx.Response, token: Hidden[str], release: Callable[[], object]
) -> Refusal:
    """Describe *response* for the 401 flow. httpx closes it if an error interrupts the flow.

    :param release: reads the response to its end, which frees the connection.
    """
    # After redirects within the origin, response.request is the last request.
    can_be_resent = partial(_can_be_resent, response.request)
    return Refusal(token, can_be_resent=can_be_resent, release=release)


def _can_be_resent(request: httpx.Request) -> bool:
    """Return whether the body of *request* is in memory, or can be read again."""
    if isinstance(request.stream, httpx.ByteStream):
        return True
    # Only a multipart form has fields, and httpx rewinds their files.
    fields = getattr(request.stream, "fields", None)
    return fields is not None and all(
        _can_be_read_again(getattr(field, "file", b"")) for field in fields
    )


def _can_be_read_again(file: Any) -> bool:
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):  # ValueError: the file is closed
        return False
