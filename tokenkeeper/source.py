"""A handle on one token: what client libraries, databases and brokers take in place of a name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.subscriptions import Subscriber, Subscription
from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.arguments import check_flag, check_name, checked_callable
from tokenkeeper._support.authorization import HEADER, header_value
from tokenkeeper._support.hiding import Hidden, without_arguments, without_arguments_async
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters

if TYPE_CHECKING:
    from tokenkeeper.integrations.requests import KeeperAuth
    from tokenkeeper.keeper import TokenKeeper
    from tokenkeeper.manager import OAuth2TokenManager

__all__ = ["AsyncTokenSource", "TokenSource"]


class TokenSource(NotPicklable):
    """A handle on one token of a keeper. Create it with :meth:`TokenKeeper.source`. Thread-safe.

    It holds no token, so it can be kept for as long as the keeper. Call it for a token each time
    that you need one: ``source()``.
    """

    __slots__ = (
        "__weakref__",
        "_background",
        "_cell",
        "_coordinator",
        "_keeper",
        "_key",
        "_now",
        "_parameters",
        "name",
    )

    name: TokenName
    """The name of the token, which works wherever a provider's name does."""

    def __init__(
        self, keeper: TokenKeeper, name: TokenName, parameters: TokenParameters | None
    ) -> None:
        self.name = name
        self._key = str(name)  # a subclass of str is slower as a key
        self._parameters = parameters
        self._keeper = keeper
        self._coordinator = keeper._coordinator  # noqa: SLF001 - a handle on a part of the keeper
        self._background = self._coordinator.background
        self._cell = self._coordinator.state.cell(self._key)
        self._now = self._coordinator.now

    @property
    def keeper(self) -> TokenKeeper:
        """The keeper that has the token."""
        return self._keeper

    @property
    def aio(self) -> AsyncTokenSource:
        """The async front of this source, for asyncio and trio."""
        from tokenkeeper.manager import OAuth2TokenManager

        return AsyncTokenSource(OAuth2TokenManager(self._keeper), self)

    def get_token(self, force_refresh: bool = False, timeout: float | None = None) -> str:
        """Return a valid access token, as :meth:`TokenKeeper.get_token` does."""
        cached = self._cell.cached
        now = self._now  # CPython 3.11 calls a local faster than an attribute
        if now() < cached.stale_at and not force_refresh:
            return cached.access_token
        background, moment = self._background, now()
        if (
            moment < cached.dead_at
            and not force_refresh
            and (moment < background.trusted_until or background.ensure_running())
        ):
            return cached.access_token
        return self.token(force_refresh, timeout).access_token

    def __call__(self) -> str:
        """Return a valid access token.

        It takes no arguments: one that a library passes to its callbacks would be mistaken for
        ``force_refresh``.
        """
        cached, now = self._cell.cached, self._now  # as get_token() does, which costs a call more
        if now() < cached.stale_at:
            return cached.access_token
        return self.get_token()

    def token(self, force_refresh: bool = False, timeout: float | None = None) -> OAuth2Token:
        """Return the token with its expiry, scope and extra members.

        :param force_refresh: as for :meth:`TokenKeeper.get_token`, like *timeout*.
        """
        return self._answer(self.need(force=force_refresh, timeout=timeout)).token

    @without_arguments
    def renew_refused(
        self, refused_token: str, timeout: float | None = None, *, claims: str | None = None
    ) -> str:
        """Return a token in place of *refused_token*: :meth:`TokenKeeper.renew_refused`."""
        check_name(refused_token, "refused_token")
        need = self.need(refused=refused_token, timeout=timeout, claims=claims)
        return self._answer(need).access_token

    def headers(self, method: str, url: str) -> dict[str, str]:
        """Return the headers that authorize a request (RFC 6750 §2.1).

        :param method: the request's method, such as ``GET``.
        :param url: the request's URL. A token that is bound to its sender needs both.
        """
        return {HEADER: header_value(Hidden(self.get_token()))}

    def auth(
        self, *, allowed_hosts: Iterable[str] | None = None, timeout: float | None = None
    ) -> KeeperAuth:
        """Return an ``auth=`` for ``requests``: :meth:`TokenKeeper.auth`."""
        from tokenkeeper.integrations.requests import KeeperAuth

        return KeeperAuth(self, allowed_hosts=allowed_hosts, timeout=timeout)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call *callback* with each new token from now on; return a function that ends this.

        For clients that have to be informed, such as a connection that authenticates once and has
        to do so again before its token expires. While there is a subscription, the token counts as
        used, so it is renewed for as long as the keeper is open; request it once with
        :meth:`token`.

        Called on an event loop, under asyncio or trio, the callback runs on that loop, as a task if
        it is an ``async def``, until the loop is closed. Otherwise it runs on a thread of the
        keeper that no caller waits for, and an ``async def`` on the library's own event loop. It
        gets the tokens in order, one at a time. What it raises is logged. The owner of a bound
        method is held weakly, so a method of an object that is gone is no longer called. A forked
        child keeps the subscriptions that have no event loop.

        :param callback: takes one :class:`~tokenkeeper.OAuth2Token`.
        :raises InvalidConfigurationError: if it is not callable.
        :raises KeeperClosedError: after :meth:`TokenKeeper.close`.
        """
        checked_callable(callback, "callback", "a function of one token")
        subscription = Subscription(callback, self._key)
        self._coordinator.state.subscribe(subscription)
        return subscription.end

    def write_to(
        self, path: str | os.PathLike[str], *, remove_on_close: bool = False
    ) -> Callable[[], None]:
        """Write the token to a file now and on each renewal; return a function that ends this.

        For clients that read tokens from a file, such as ``AWS_WEB_IDENTITY_TOKEN_FILE``,
        ``AZURE_FEDERATED_TOKEN_FILE`` or Snowflake's ``token_file_path``. The file has the access
        token alone, is replaced atomically, and only its owner can read it (mode 0600). Blocks for
        the first token. If a renewal fails, the file keeps the token that it has. A forked child
        does not write it.

        :param path: the file; its directory must exist, and other users must not be able to write
            there.
        :param remove_on_close: whether to remove the file when the keeper is closed or the returned
            function is called; ``False`` by default.
        :raises InvalidConfigurationError: if the directory can't be used.
        :raises OSError: if the file can't be written. Later errors are logged.

        Also raises the errors of :meth:`token`.
        """
        check_flag(remove_on_close, "remove_on_close")
        with forks_wait():
            from tokenkeeper._renewal.token_file import TokenFile

        file = TokenFile(path)
        ending = file.remove if remove_on_close else file.stop
        # A bound method would be held weakly, and writing must neither block nor need a loop.
        subscription = Subscription(
            lambda token: file.write(token), self._key, ending, on_loop=False
        )
        self._coordinator.state.subscribe(subscription)
        try:
            file.write_first(self.token())
        except BaseException:
            subscription.end()
            raise
        return subscription.end

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name.provider_name!r}>"

    # ---- for both fronts

    def need(
        self,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
        claims: str | None = None,
    ) -> Need:
        """Return what a caller needs that asks now."""
        return self._coordinator.need(
            self._key,
            force=force,
            refused=refused,
            timeout=timeout,
            parameters=self._parameters,
            claims=claims,
        )

    def would_reject(self, token: str) -> bool:
        """Return whether a rejection of *token* would cause no renewal now."""
        return self._coordinator.state.would_reject(self._key, token)

    def _answer(self, need: Need) -> CachedToken:
        answer = self._coordinator.ask(need)
        return self._keeper._wait_for(answer, need)  # noqa: SLF001 - a handle on a part of it


class AsyncTokenSource(NotPicklable):
    """The async front of a :class:`TokenSource`, for asyncio and trio. Thread-safe.

    Each method does what the method of that name does there, without blocking the event loop.
    """

    __slots__ = ("__weakref__", "_background", "_cell", "_manager", "_now", "_source")

    def __init__(self, manager: OAuth2TokenManager, source: TokenSource) -> None:
        self._manager = manager
        self._source = source
        # Handles on parts of the source, which is one with its async front.
        self._cell = source._cell  # noqa: SLF001
        self._background = source._background  # noqa: SLF001
        self._now = source._now  # noqa: SLF001

    @property
    def name(self) -> TokenName:
        """The name of the token."""
        return self._source.name

    @property
    def source(self) -> TokenSource:
        """The blocking front."""
        return self._source

    async def get_token(self, force_refresh: bool = False, timeout: float | None = None) -> str:
        """Return a valid access token; while there is one, without yielding to the event loop."""
        cached = self._cell.cached
        now = self._now
        if now() < cached.stale_at and not force_refresh:
            return cached.access_token
        background, moment = self._background, now()
        if (
            moment < cached.dead_at
            and not force_refresh
            and (moment < background.trusted_until or background.ensure_running())
        ):
            return cached.access_token
        return (await self.token(force_refresh, timeout)).access_token

    async def __call__(self) -> str:
        """Return a valid access token."""
        return await self.get_token()

    async def token(self, force_refresh: bool = False, timeout: float | None = None) -> OAuth2Token:
        """Return the token with its expiry, scope and extra members."""
        need = self._source.need(force=force_refresh, timeout=timeout)
        return (await self._answer(need)).token

    @without_arguments_async
    async def renew_refused(
        self, refused_token: str, timeout: float | None = None, *, claims: str | None = None
    ) -> str:
        """Return a token in place of *refused_token*, which an API rejected."""
        check_name(refused_token, "refused_token")
        need = self._source.need(refused=refused_token, timeout=timeout, claims=claims)
        return (await self._answer(need)).access_token

    async def headers(self, method: str, url: str) -> dict[str, str]:
        """Return the headers that authorize a request."""
        return {HEADER: header_value(Hidden(await self.get_token()))}

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call *callback* with each new token, on this event loop: :meth:`TokenSource.subscribe`.

        It does not block, so it need not be awaited.
        """
        return self._source.subscribe(callback)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name.provider_name!r}>"

    async def _answer(self, need: Need) -> CachedToken:
        manager = self._manager
        answer = await manager._ask(need)  # noqa: SLF001 - a handle on a part of it
        return await manager._wait_for(answer, need)  # noqa: SLF001
