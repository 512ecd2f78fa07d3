"""``requests``: an ``auth=`` that puts the token on, and renews once where an API refuses it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import requests
import requests.auth

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.integrations._bodies import position_of, rewind
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._refusals import let_go, renewed, would_reject
from tokenkeeper.keeper import TokenKeeper, checked_pair

__all__ = ["KeeperAuth"]


class KeeperAuth(NotPicklable, requests.auth.AuthBase):
    """Authenticates requests with the token of a provider (RFC 6750 §2.1). Thread-safe.

    An answer of 401 names the token that was refused: however many requests meet it at once, one
    renewal follows. The request is sent again if its body can be; a second 401 is the caller's.
    A body that can be read but once, such as a generator's, is not sent again: the caller gets the
    401 at once, and the next request has the new token. Where the API refuses freshly granted
    tokens, none is renewed for a while, and each 401 is the caller's.

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
        self._provider_name = provider_name
        self._hosts = AllowedHosts(provider_name, allowed_hosts)
        self._timeout = timeout

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the token on.

        :raises OAuth2Error: if there is none, or the host may not have it.
        """
        self._hosts.check(request.url or "")
        token = Hidden(self._keeper.get_token(self._provider_name, timeout=self._timeout))
        request.headers["Authorization"] = f"Bearer {token.text}"
        whose = self._keeper, self._provider_name
        answer = _Answer(*whose, self._timeout, token, position_of(request.body))
        request.register_hook("response", answer.arrived)  # type: ignore[no-untyped-call]
        return request

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeeperAuth) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((id(self._keeper), self._provider_name))


class _Answer:
    """Waits for the answer to one request, and to those that redirects make of it."""

    def __init__(
        self,
        keeper: TokenKeeper,
        provider_name: str,
        timeout: float | None,
        token: Hidden[str],
        position: int | None,
    ) -> None:
        self._keeper = keeper
        self._provider_name = provider_name
        self._timeout = timeout
        self._token = token
        self._position = position
        self._sent_again: requests.PreparedRequest | None = None

    def arrived(self, response: requests.Response, **options: Any) -> requests.Response:
        """Return the answer, or where the token was refused that to the request sent again."""
        request = response.request
        # The hook travels along with redirects, and the header only to the same origin.
        carried = request.headers.get("Authorization") == f"Bearer {self._token.text}"
        if request is self._sent_again:  # by the caller: what we send again meets no hook
            self._sent_again = None
        # A redirect is a request of its own: one that follows a renewal is refused for good.
        refused_twice = self._sent_again is not None
        if response.status_code != 401 or not carried or refused_twice:
            return response
        whose = self._keeper, self._provider_name
        if would_reject(*whose, self._token) or not rewind(request.body, self._position):
            let_go(*whose, self._token)
            return response
        if not options.get("stream"):  # what else it says counts for nothing
            with suppress(requests.RequestException):
                _ = response.content  # read to the end, the connection can be used again
        response.close()
        self._token = renewed(*whose, self._token, self._timeout)
        self._sent_again = request
        response.request = request.copy()
        # Changed in place: requests makes what follows a redirect of this one, hooks and all.
        request.headers["Authorization"] = f"Bearer {self._token.text}"
        began = SYSTEM_CLOCK.monotonic()
        second = response.connection.send(request, **options)
        second.elapsed = timedelta(seconds=SYSTEM_CLOCK.monotonic() - began)
        second.history.append(response)
        return second
