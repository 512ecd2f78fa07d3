"""Handles on tokens of the process-wide default keeper, which need not exist yet."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Unpack

from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.subscriptions import Subscriber
from tokenkeeper._support.arguments import check_name
from tokenkeeper.default import get_default_keeper, is_default_keeper
from tokenkeeper.keeper import SourceParameters, TokenKeeper
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.source import AsyncTokenSource, TokenSource

__all__ = ["get_default_source"]


def get_default_source(provider_name: str, **parameters: Unpack[SourceParameters]) -> TokenSource:
    """Return a handle on a token of the default keeper, made before that keeper is configured.

    For module level: ``graph = get_default_source("graph")``. It asks whichever keeper is the
    default when it is used, so :func:`~tokenkeeper.set_default_keeper` may be called later. A read
    costs a little more than one of :meth:`TokenKeeper.source`. Thread-safe.

    :param parameters: those of :meth:`TokenKeeper.source`. Whether the provider takes them is
        checked at the first use.
    :raises InvalidConfigurationError: for a value that can't work.
    """
    check_name(provider_name)
    return _DefaultTokenSource(provider_name, parameters)


class _DefaultTokenSource(TokenSource):
    """A source that finds its keeper when it is used."""

    __slots__ = ("_asked", "_found", "_provider_name")

    def __init__(self, provider_name: str, parameters: SourceParameters) -> None:
        self.name = TokenName.of(provider_name, TokenParameters.of(**parameters))
        self._provider_name = provider_name
        self._asked = parameters
        self._found: TokenSource | None = None

    def current(self) -> TokenSource:
        """Return the source of the keeper that is the default now."""
        found = self._found
        if found is None or not is_default_keeper(found._keeper):  # noqa: SLF001 - for speed
            keeper = get_default_keeper()
            found = self._found = keeper.source(self._provider_name, **self._asked)
        return found

    @property
    def keeper(self) -> TokenKeeper:
        return get_default_keeper()

    @property
    def aio(self) -> AsyncTokenSource:
        return _DefaultAsyncTokenSource(self)

    def get_token(self, force_refresh: bool = False, timeout: float | None = None) -> str:
        return self.current().get_token(force_refresh, timeout)

    def __call__(self) -> str:
        return self.current()()

    def token(self, force_refresh: bool = False, timeout: float | None = None) -> OAuth2Token:
        return self.current().token(force_refresh, timeout)

    def renew_refused(
        self, refused_token: str, timeout: float | None = None, *, claims: str | None = None
    ) -> str:
        return self.current().renew_refused(refused_token, timeout, claims=claims)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        return self.current().subscribe(callback)

    def write_to(
        self, path: str | os.PathLike[str], *, remove_on_close: bool = False
    ) -> Callable[[], None]:
        return self.current().write_to(path, remove_on_close=remove_on_close)

    def need(
        self,
        *,
        force: bool = False,
        refused: str | None = None,
        timeout: float | None = None,
        claims: str | None = None,
    ) -> Need:
        return self.current().need(force=force, refused=refused, timeout=timeout, claims=claims)

    def would_reject(self, token: str) -> bool:
        return self.current().would_reject(token)


class _DefaultAsyncTokenSource(AsyncTokenSource):
    """The async front of such a source."""

    __slots__ = ("_found", "_late")

    def __init__(self, source: _DefaultTokenSource) -> None:
        self._late = source
        self._found: AsyncTokenSource | None = None

    def current(self) -> AsyncTokenSource:
        """Return the async front of that source."""
        source, found = self._late.current(), self._found
        if found is None or found.source is not source:
            found = self._found = source.aio
        return found

    @property
    def name(self) -> TokenName:
        return self._late.name

    @property
    def source(self) -> TokenSource:
        return self._late

    async def get_token(self, force_refresh: bool = False, timeout: float | None = None) -> str:
        return await self.current().get_token(force_refresh, timeout)

    async def token(self, force_refresh: bool = False, timeout: float | None = None) -> OAuth2Token:
        return await self.current().token(force_refresh, timeout)

    async def renew_refused(
        self, refused_token: str, timeout: float | None = None, *, claims: str | None = None
    ) -> str:
        return await self.current().renew_refused(refused_token, timeout, claims=claims)

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        return self._late.subscribe(callback)
