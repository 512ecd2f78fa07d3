"""The authentication flow of ``httpx`` and of its fork ``httpx2``, whose classes don't mix.

Each package accepts only an ``Auth`` of its own, and reads only its own streams. The public modules
:mod:`tokenkeeper.integrations.httpx` and :mod:`tokenkeeper.integrations.httpx2` add those.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    MutableMapping,
)
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.authorization import carries, set_token
from tokenkeeper._support.hiding import Hidden
from tokenkeeper.integrations._hosts import AllowedHosts
from tokenkeeper.integrations._tokens import AsyncTokens, Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.oauth.claims_challenge import claims_in
from tokenkeeper.source import TokenSource

__all__ = ["HttpxFlow"]


class _Request(Protocol):
    """A request of either package."""

    @property
    def url(self) -> object: ...

    @property
    def headers(self) -> MutableMapping[str, str]: ...

    @property
    def stream(self) -> object: ...


class _Response(Protocol):
    """A response of either package."""

    @property
    def status_code(self) -> int: ...

    @property
    def request(self) -> Any: ...

    @property
    def headers(self) -> MutableMapping[str, str]: ...

    def read(self) -> bytes: ...

    def aread(self) -> Awaitable[bytes]: ...


_RequestT = TypeVar("_RequestT", bound=_Request)
_ResponseT = TypeVar("_ResponseT", bound=_Response)


class HttpxFlow(NotPicklable, Generic[_RequestT, _ResponseT]):
    """What ``KeeperAuth`` does, for the requests and responses of one package.

    :cvar _byte_stream: the package's class of bodies that are in memory.
    """

    _byte_stream: ClassVar[type]

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

    def sync_auth_flow(self, request: _RequestT) -> Generator[_RequestT, _ResponseT, None]:
        """Authenticate *request* for a blocking client."""
        self._hosts.check(str(request.url))
        token = self._tokens.get()
        response = yield _with_token(request, token)
        if _is_refusal(response, token):
            new = self._tokens.replace(self._refusal(response, token, release=response.read))
            if new is not None:
                yield _with_token(response.request, new)

    async def async_auth_flow(self, request: _RequestT) -> AsyncGenerator[_RequestT, _ResponseT]:
        """Authenticate *request* for an async client, under asyncio or trio."""
        self._hosts.check(str(request.url))
        token = await self._async_tokens.get()
        response = yield _with_token(request, token)
        if _is_refusal(response, token):
            refusal = self._refusal(response, token, release=response.aread)
            new = await self._async_tokens.replace(refusal)
            if new is not None:
                yield _with_token(response.request, new)

    def _refusal(
        self, response: _ResponseT, token: Hidden[str], release: Callable[[], object]
    ) -> Refusal:
        """Describe *response* for the 401 flow. The client closes it if an error interrupts that.

        :param release: reads the response to its end, which frees the connection.
        """
        # After redirects within the origin, response.request is the last request.
        can_be_resent = partial(self._can_be_resent, response.request.stream)
        claims = claims_in(response.headers.get("WWW-Authenticate"))
        return Refusal(token, can_be_resent=can_be_resent, release=release, claims=claims)

    def _can_be_resent(self, stream: object) -> bool:
        """Return whether a body is in memory, or can be read again."""
        if isinstance(stream, self._byte_stream):
            return True
        # Only a multipart form has fields, and the client rewinds their files.
        fields = getattr(stream, "fields", None)
        return fields is not None and all(
            _can_be_read_again(getattr(field, "file", b"")) for field in fields
        )


def _with_token(request: _RequestT, token: Hidden[str]) -> _RequestT:
    set_token(request.headers, token)
    return request


def _is_refusal(response: _Response, token: Hidden[str]) -> bool:
    """Return whether a server refused *token*.

    After a redirect to another origin the request has no token, and a 401 says nothing about it.
    """
    return response.status_code == 401 and carries(response.request.headers, token)


def _can_be_read_again(file: Any) -> bool:
    if isinstance(file, (str, bytes)):
        return True
    try:
        return bool(file.seekable())
    except (AttributeError, ValueError):  # ValueError: the file is closed
        return False
