"""``httpx``: one ``auth=`` for blocking and async clients, which renews once where refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import Any

import httpx

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._refusals import (
    let_go,
    let_go_async,
    renewed,
    renewed_async,
    would_reject,
)
from tokenkeeper.keeper import TokenKeeper, checked_pair
from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["KeeperAuth"]


class KeeperAuth(NotPicklable, httpx.Auth):
    """Authenticates requests with the token of a provider (RFC 6750 §2.1).

    May be shared by any number of clients, threads and event loops. An answer of 401 names the
    token that was refused: however many requests meet it at once, one renewal follows. The
    request is sent again, unless its body is a stream; the caller then gets the 401 at once, and
    the next request has the new token. A second 401 is the caller's. Where the API refuses freshly
    granted tokens, none is renewed for a while, and each 401 is the caller's.

    :param keeper: where tokens come from.
    :param provider_name: whose.
    :param allowed_hosts: the hosts that the token is for, such as ``"api.example.com"``,
        ``".example.com"`` or ``"api.example.com:8443"``; any that you call by default, by https,
        on loopback by http as well. ``"http://api.internal"`` names one to call in clear. A
        redirect to another host, scheme or port never takes the token along, but for the one from
        http up to https on the usual ports of the same host.
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
        self._keeper = checked_pair(keeper, provider_name, timeout)
        self._manager = OAuth2TokenManager(keeper)
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate *request* for a blocking client."""
        self._hosts.check(str(request.url))
        token = Hidden(self._keeper.get_token(self._provider_name, timeout=self._timeout))
        response = yield _signed(request, token)
        if _was_refused(response, token):
            refused = response.request  # the last one, if there were redirects
            rejected = would_reject(self._keeper, self._provider_name, token)
            if rejected or not _can_be_sent_again(refused):
                let_go(self._keeper, self._provider_name, token)
                return
            try:
                response.read()  # so that nobody waits for its connection while we wait
            except httpx.HTTPError:
                let_go(self._keeper, self._provider_name, token)
                raise
            again = renewed(self._keeper, self._provider_name, token, self._timeout)
            yield _signed(refused, again)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authenticate *request* for an async client, under asyncio or trio."""
        self._hosts.check(str(request.url))
        token = Hidden(await self._manager.get_token(self._provider_name, timeout=self._timeout))
        response = yield _signed(request, token)
        if _was_refused(response, token):
            refused = response.request
            rejected = would_reject(self._keeper, self._provider_name, token)
            if rejected or not _can_be_sent_again(refused):
                await let_go_async(self._manager, self._provider_name, token)
                return
            try:
                await response.aread()
            except httpx.HTTPError:
                await let_go_async(self._manager, self._provider_name, token)
                raise
            again = await renewed_async(self._manager, self._provider_name, token, self._timeout)
            yield _signed(refused, again)


def _signed(request: httpx.Request, token: Hidden[str]) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token.text}"
    return request


def _was_refused(response: httpx.Response, token: Hidden[str]) -> bool:
    """Say whether a server that was shown *token* refused it.

    httpx takes the header off where a redirect leads to another origin, and what is said there
    says nothing about the token.
    """
    shown = response.request.headers.get("Authorization") == f"Bearer {token.text}"
    return response.status_code == 401 and shown


def _can_be_sent_again(request: httpx.Request) -> bool:
    """Say whether the body is still there, or can be read again."""
    if isinstance(request.stream, httpx.ByteStream):
        return True
    # Only a multipart form has fields, and httpx takes their files back to the beginning.
    fields = getattr(request.stream, "fields", None)
    return fields is not None and all(
        _can_be_read_again(getattr(field, "file", b"")) for field in fields
    )


def _can_be_read_again(file: Any) -> bool:
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):  # the last one if it is closed
        return False
