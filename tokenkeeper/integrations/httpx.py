"""``httpx``: one ``auth=`` for blocking and async clients, which renews once where refused."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterable
from typing import TYPE_CHECKING

import httpx

from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.manager import OAuth2TokenManager

if TYPE_CHECKING:
    from tokenkeeper.keeper import TokenKeeper

__all__ = ["KeeperAuth"]


class KeeperAuth(httpx.Auth):
    """Authenticates requests with the token of a provider (RFC 6750 §2.1).

    May be shared by any number of clients, threads and event loops. An answer of 401 names the
    token that was refused: however many requests meet it at once, one renewal follows. The
    request is sent again, unless its body is a stream that was used up; a second 401 is the
    caller's.

    :param keeper: where tokens come from.
    :param provider_name: whose.
    :param allowed_hosts: the hosts that the token is for; any that you call by default. A
        redirect to another origin never takes the token along.
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
        self._keeper = keeper
        self._manager = OAuth2TokenManager(keeper)
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout

    def sync_auth_flow(
        self, request: httpx.Request
    ) -> Generator[httpx.Request, httpx.Response, None]:
        """Authenticate *request* for a blocking client."""
        self._hosts.check(str(request.url))
        token = self._keeper.get_token(self._provider_name, timeout=self._timeout)
        response = yield _signed(request, token)
        if _was_refused(response, token):
            renewed = self._keeper.renew_refused(self._provider_name, token, timeout=self._timeout)
            if _can_be_sent_again(request):
                yield _signed(request, renewed)

    async def async_auth_flow(
        self, request: httpx.Request
    ) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Authenticate *request* for an async client, under asyncio or trio."""
        self._hosts.check(str(request.url))
        token = await self._manager.get_token(self._provider_name, timeout=self._timeout)
        response = yield _signed(request, token)
        if _was_refused(response, token):
            renewed = await self._manager.renew_refused(
                self._provider_name, token, timeout=self._timeout
            )
            if _can_be_sent_again(request):
                yield _signed(request, renewed)


def _signed(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _was_refused(response: httpx.Response, token: str) -> bool:
    """Say whether a server that was shown *token* refused it.

    httpx takes the header off where a redirect leads to another origin, and what is said there
    says nothing about the token.
    """
    shown = response.request.headers.get("Authorization") == f"Bearer {token}"
    return response.status_code == 401 and shown


def _can_be_sent_again(request: httpx.Request) -> bool:
    """Say whether the body is still there: httpx keeps it, unless it is streamed."""
    try:
        request.content  # noqa: B018 - it raises where there is none
    except httpx.RequestNotRead:
        return False
    return True
