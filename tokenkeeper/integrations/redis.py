"""``redis``: credential providers, blocking and async, that open connections follow."""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

from redis.auth.token import SimpleToken
from redis.credentials import CredentialProvider, StreamingCredentialProvider
from redis.exceptions import AuthenticationError

from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.hiding import without_frames, without_frames_async
from tokenkeeper.clock import SYSTEM_CLOCK
from tokenkeeper.integrations._tokens import AsyncTokens, Tokens
from tokenkeeper.integrations._unauthorized import Refusal
from tokenkeeper.keeper import TokenKeeper
from tokenkeeper.models import OAuth2Token
from tokenkeeper.source import TokenSource

__all__ = ["KeeperCredentialProvider", "StreamingKeeperCredentialProvider"]

_log = logging.getLogger("tokenkeeper.integrations")

INCOMPLETE = (
    "redis-py could not authenticate all open connections again (%s). Those that the server closes "
    "are made again when they are used."
)


class KeeperCredentialProvider(NotPicklable, CredentialProvider):
    """Gives each new connection a token as its password. For blocking and async clients.

    A credential provider is not informed of a rejection. :meth:`on_connect` is: pass it as
    ``redis_connect_func``, and a rejected token is renewed, and sent again, once. Thread-safe.

    :param keeper: the keeper that has the tokens, or a source, which names its token itself.
    :param provider_name: the provider whose token to use.
    :param username: the user of the server; ``default`` by default.
    :param timeout: seconds to wait for a token at most; by default there is no limit.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        username: str = "default",
        timeout: float | None = None,
    ) -> None:
        self._tokens = Tokens(keeper, provider_name, timeout)
        self._async_tokens = AsyncTokens(keeper, provider_name, timeout)
        self._username = username

    def get_credentials(self) -> tuple[str, str]:
        """Return the name of the user and a token."""
        return self._username, self._tokens.get().text

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the name of the user and a token, without blocking the event loop."""
        return self._username, (await self._async_tokens.get()).text

    def on_connect(self, connection: Any) -> None:
        """Authenticate *connection*; if its token is rejected, renew it and try once more."""
        token = self._tokens.get()
        try:
            return _authenticate(connection)
        except AuthenticationError:
            if self._tokens.replace(Refusal(token, can_be_resent=lambda: True)) is None:
                raise
        return _connect_again(connection)

    async def on_connect_async(self, connection: Any) -> None:
        """Do what :meth:`on_connect` does, for ``redis.asyncio``."""
        token = await self._async_tokens.get()
        try:
            return await _authenticate_async(connection)
        except AuthenticationError:
            refusal = Refusal(token, can_be_resent=lambda: True)
            if await self._async_tokens.replace(refusal) is None:
                raise
        return await _connect_again_async(connection)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._tokens.provider_name!r}>"


class StreamingKeeperCredentialProvider(KeeperCredentialProvider, StreamingCredentialProvider):
    """Also authenticates open connections again with each new token.

    For servers that close a connection when its token expires. redis-py registers the pools of a
    client that got this as ``credential_provider``; one that ``from_url()`` created does not. The
    token is renewed for as long as there is such a client and the keeper is open.

    Several clients may share it. An async client is served on the event loop that it was created
    on, or else on the first that a connection is made on.

    :param username: the user of the server; ``default`` by default.
    """

    def __init__(
        self,
        keeper: TokenKeeper | TokenSource,
        provider_name: str | None = None,
        *,
        username: str = "default",
        timeout: float | None = None,
    ) -> None:
        super().__init__(keeper, provider_name, username=username, timeout=timeout)
        self._listeners: set[_Listener | _AsyncListener] = set()

    async def get_credentials_async(self) -> tuple[str, str]:
        """Return the name of the user and a token, without blocking the event loop."""
        for listener in tuple(self._listeners):
            if isinstance(listener, _AsyncListener):
                listener.follow(self._tokens.source)
        return await super().get_credentials_async()

    def on_next(self, callback: Callable[[Any], Any]) -> None:
        """Call *callback* with each new token from now on. redis-py calls this for its pools."""
        for listener in tuple(self._listeners):
            if listener.is_over:
                self._listeners.discard(listener)
        source = self._tokens.source
        if inspect.iscoroutinefunction(callback):
            listener = _AsyncListener(callback, self._username)
            with suppress(RuntimeError):  # there is no event loop yet
                listener.follow(source)
        else:
            listener = _Listener(callback, self._username)
            # It blocks, and would be called on the event loop that is running here.
            with ThreadPoolExecutor(1) as thread:
                thread.submit(source.subscribe, listener.deliver).result()
        self._listeners.add(listener)

    def on_error(self, callback: Callable[[Exception], Any]) -> None:
        """Do nothing: a renewal that fails is retried, and a new connection raises its error."""

    def is_streaming(self) -> bool:
        """Return ``True``."""
        return True


class _Listener:
    """A callback of a client, which is held weakly, like the client, and called on any thread."""

    def __init__(self, callback: Callable[[Any], Any], username: str) -> None:
        self._username = username
        self._find: Callable[[], Callable[[Any], Any] | None] = (
            weakref.WeakMethod(callback) if inspect.ismethod(callback) else lambda: callback
        )

    @property
    def is_over(self) -> bool:
        """Whether the client is gone."""
        return self._find() is None

    def deliver(self, token: OAuth2Token) -> Any:
        """Call the callback with *token* as a token of redis-py."""
        callback = self._find()
        if callback is not None:
            try:
                callback(_as_redis_token(token, self._username))
            except Exception as error:  # noqa: BLE001 - of a connection that was lost, for example
                _log.warning(INCOMPLETE, type(error).__name__)


class _AsyncListener(_Listener):
    """The same for a coroutine function, which is called on one event loop."""

    _loop: Callable[[], asyncio.AbstractEventLoop | None] = staticmethod(lambda: None)

    def follow(self, source: TokenSource) -> None:
        """Have the callback called on the running loop, unless it has one that is open.

        :raises RuntimeError: if no loop is running.
        """
        running, known = asyncio.get_running_loop(), self._loop()
        if known is None or known.is_closed():
            self._loop = weakref.ref(running)
            source.subscribe(self.deliver)

    async def deliver(self, token: OAuth2Token) -> Any:
        """Await the callback with *token*."""
        callback = self._find()
        if callback is not None:
            try:
                await callback(_as_redis_token(token, self._username))
            except Exception as error:  # noqa: BLE001 - as above
                _log.warning(INCOMPLETE, type(error).__name__)


def _as_redis_token(token: OAuth2Token, username: str) -> SimpleToken:
    """Return *token* in redis-py's form: times in milliseconds, and the user as its ``oid``."""
    expires_at, now = token.expires_at.timestamp() * 1000, SYSTEM_CLOCK.time() * 1000
    return SimpleToken(token.access_token, expires_at, now, {"oid": username})


@without_frames
def _authenticate(connection: Any) -> None:
    connection.on_connect()


@without_frames_async
async def _authenticate_async(connection: Any) -> None:
    await connection.on_connect()


@without_frames
def _connect_again(connection: Any) -> None:
    """Connect and authenticate. redis-py closes a connection whose token is rejected."""
    connection.disconnect()
    with _by_redis_alone(connection) as connect:
        connect()


@without_frames_async
async def _connect_again_async(connection: Any) -> None:
    await connection.disconnect(nowait=True)
    with _by_redis_alone(connection) as connect:
        await connect()


@contextmanager
def _by_redis_alone(connection: Any) -> Iterator[Callable[[], Any]]:
    """Yield a function that connects once, without calling ``redis_connect_func``."""
    function, connection.redis_connect_func = connection.redis_connect_func, None
    try:
        # connect() repeats the whole if the token is rejected. Before redis 6, it does not.
        yield getattr(connection, "connect_check_health", connection.connect)
    finally:
        connection.redis_connect_func = function
