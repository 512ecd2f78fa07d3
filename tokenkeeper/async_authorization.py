"""The async front of a sign-in, for asyncio and trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.arguments import check_timeout
from tokenkeeper._support.hiding import without_arguments_async
from tokenkeeper.authorization import Authorization
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName

__all__ = ["AsyncAuthorization"]

LOOK_SECONDS = 0.1
"""How often a wait looks whether the browser has come. Looking costs a few microseconds."""


class AsyncAuthorization(NotPicklable):
    """The async front of an :class:`~tokenkeeper.authorization.Authorization`.

    Create it with :meth:`OAuth2TokenManager.authorize`. It has the same attributes. Its methods do
    not block the event loop, and :meth:`wait` uses a thread only while a request is under way.

    :param authorization: the blocking front.
    :param off_loop: runs a blocking call on a thread.
    """

    def __init__(
        self,
        authorization: Authorization,
        off_loop: Callable[[Callable[[], Any]], Awaitable[Any]],
    ) -> None:
        self._authorization = authorization
        self._off_loop = off_loop

    @property
    def authorization(self) -> Authorization:
        """The blocking front."""
        return self._authorization

    @property
    def url(self) -> str:
        """Where the person signs in: :attr:`Authorization.url`."""
        return self._authorization.url

    @property
    def user_code(self) -> str | None:
        """What the person enters there: :attr:`Authorization.user_code`."""
        return self._authorization.user_code

    @property
    def state(self) -> str:
        """What ties the answer to this sign-in: :attr:`Authorization.state`."""
        return self._authorization.state

    @property
    def expires_at(self) -> datetime:
        """Until when the sign-in can be completed, in UTC."""
        return self._authorization.expires_at

    @property
    def token_name(self) -> TokenName:
        """The name of the token that it brings."""
        return self._authorization.token_name

    async def wait(self, timeout: float | None = None) -> OAuth2Token:
        """Wait until the person has signed in: :meth:`Authorization.wait`. Can be cancelled."""
        check_timeout(timeout)
        polling = self._authorization.polling
        if polling is not None:
            return await polling.wait_async(self._authorization.poll, self._off_loop, timeout)
        deadline = self._authorization.deadline(timeout)
        while True:
            if self._authorization.is_due():
                token: OAuth2Token = await self._off_loop(self._authorization.proceed)
                return token
            await anyio.sleep(min(LOOK_SECONDS, self._authorization.pause_seconds(deadline)))

    @without_arguments_async
    async def complete(self, callback_url: str) -> OAuth2Token:
        """Complete the sign-in with the browser's URL: :meth:`Authorization.complete`."""
        token: OAuth2Token = await self._off_loop(
            partial(self._authorization.complete, callback_url)
        )
        return token

    async def close(self) -> None:
        """Stop listening and waiting. Idempotent."""
        await self._off_loop(self._authorization.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.token_name.provider_name!r}>"
