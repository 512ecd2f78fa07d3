"""The async front of a keeper, for asyncio and trio alike."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

import anyio
import anyio.to_thread
from anyio.lowlevel import RunVar

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need
from tokenkeeper._renewal.nesting import waiting_for
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._runtime.fork import forks_wait
from tokenkeeper._runtime.pickling import NotPicklable
from tokenkeeper._support.arguments import check_name
from tokenkeeper._support.hiding import without_arguments_async
from tokenkeeper._support.proofs import request_headers
from tokenkeeper.default import get_default_keeper
from tokenkeeper.events import EventHook
from tokenkeeper.exceptions import InvalidConfigurationError, TokenAcquisitionError
from tokenkeeper.keeper import (
    AuthorizeOptions,
    KeeperOptions,
    SourceParameters,
    TokenKeeper,
    checked_keeper,
)
from tokenkeeper.models import Health, OAuth2Token, ReloadResult, TokenInfo
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.source import AsyncTokenSource

if TYPE_CHECKING:
    from tokenkeeper.async_authorization import AsyncAuthorization
    from tokenkeeper.oauth.revocation import Revocation, TokenKind

__all__ = ["OAuth2TokenManager", "get_default_manager"]

T = TypeVar("T")

INLINE_THREADS = 64
"""How many threads an event loop may use to renew for a keeper without a background."""


class OAuth2TokenManager(NotPicklable):
    """Asks a :class:`~tokenkeeper.TokenKeeper` for tokens without blocking an event loop.

    It holds no token itself, so one manager serves any number of event loops and threads, and
    both fronts of a keeper return the same tokens. Tasks that wait block no thread, and cancelling
    a task disturbs no other. Thread-safe.

    :param keeper: the keeper to ask; by default a new one.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_background",
        "_cached",
        "_clock",
        "_coordinator",
        "_keeper",
        "_now",
    )

    def __init__(self, keeper: TokenKeeper | None = None) -> None:
        self._keeper = TokenKeeper() if keeper is None else checked_keeper(keeper)
        self._coordinator = self._keeper._coordinator  # noqa: SLF001 - two fronts, one core
        self._background = self._coordinator.background
        self._cached = self._keeper._cached  # noqa: SLF001
        self._clock = self._keeper._clock  # noqa: SLF001
        self._now = self._coordinator.now

    @property
    def keeper(self) -> TokenKeeper:
        """The core: the same providers and tokens, for code that blocks."""
        return self._keeper

    async def get_token(
        self, provider_name: str, force_refresh: bool = False, timeout: float | None = None
    ) -> str:
        """Return a valid access token, as :meth:`TokenKeeper.get_token` does.

        While there is a valid token, this does not yield to the event loop.
        """
        try:
            cached = self._cached[provider_name]
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
        except (KeyError, TypeError):  # TypeError: the name is unhashable, such as a list
            pass
        need = self._coordinator.need(provider_name, force=force_refresh, timeout=timeout)
        return (await self._wait_for(await self._ask(need), need)).access_token

    async def get_oauth2_token(
        self, provider_name: str, force_refresh: bool = False, timeout: float | None = None
    ) -> OAuth2Token:
        """Return a token with its expiry and scope: :meth:`TokenKeeper.get_oauth2_token`."""
        need = self._coordinator.need(provider_name, force=force_refresh, timeout=timeout)
        return (await self._wait_for(await self._ask(need), need)).token

    async def headers(self, provider_name: str, method: str, url: str) -> dict[str, str]:
        """Return the headers that authorize one request: :meth:`TokenKeeper.headers`."""
        cached = self._cached.get(provider_name) if isinstance(provider_name, str) else None
        if cached is None or self._now() >= cached.stale_at:
            need = self._coordinator.need(provider_name)
            cached = await self._wait_for(await self._ask(need), need)
        return request_headers(cached.token, method, url)

    @without_arguments_async
    async def renew_refused(
        self,
        provider_name: str,
        refused_token: str,
        timeout: float | None = None,
        *,
        claims: str | None = None,
    ) -> str:
        """Return a token in place of a rejected one: :meth:`TokenKeeper.renew_refused`."""
        check_name(refused_token, "refused_token")
        need = self._coordinator.need(
            provider_name, refused=refused_token, timeout=timeout, claims=claims
        )
        return (await self._wait_for(await self._ask(need), need)).access_token

    async def refresh_all(self) -> dict[str, bool]:
        """Renew every cached token: :meth:`TokenKeeper.refresh_all`."""
        asked = await self._off_loop_if_inline(self._coordinator.ask_for_all)
        return {need.token_name: await self._worked(need, answer) for need, answer in asked}

    def clear_token(self, provider_name: str | None = None) -> None:
        """Forget one token, or all: :meth:`TokenKeeper.clear_token`."""
        self._keeper.clear_token(provider_name)

    async def revoke(
        self,
        provider_name: str,
        *,
        account: str | None = None,
        token: TokenKind = "refresh_token",
    ) -> Revocation:
        """Revoke a token, and forget what goes with it: :meth:`TokenKeeper.revoke`.

        If the task is cancelled, the revocation goes on.
        """
        revoke = partial(self._keeper.revoke, provider_name, account=account, token=token)
        return await _off_loop(revoke)

    async def introspect(self, provider_name: str) -> Mapping[str, Any]:
        """Return what the server knows of the current token: :meth:`TokenKeeper.introspect`."""
        with forks_wait():  # few processes ever ask
            from tokenkeeper._renewal.introspecting import introspected
        need = self._coordinator.need(provider_name)
        token = (await self._wait_for(await self._ask(need), need)).token
        return await _off_loop(partial(introspected, self._coordinator, need, token))

    def get_cached_token_info(self, provider_name: str) -> TokenInfo | None:
        """Return diagnostics without a secret: :meth:`TokenKeeper.get_cached_token_info`."""
        return self._keeper.get_cached_token_info(provider_name)

    def health(self) -> Health:
        """Return whether callers can be served: :meth:`TokenKeeper.health`."""
        return self._keeper.health()

    def add_hook(self, hook: EventHook) -> None:
        """Call *hook* with each event from now on: :meth:`TokenKeeper.add_hook`."""
        self._keeper.add_hook(hook)

    def remove_hook(self, hook: EventHook) -> None:
        """Call *hook* no more: :meth:`TokenKeeper.remove_hook`."""
        self._keeper.remove_hook(hook)

    def source(
        self, provider_name: str, **parameters: Unpack[SourceParameters]
    ) -> AsyncTokenSource:
        """Return the async front of a handle on one token: :meth:`TokenKeeper.source`."""
        return self._keeper.source(provider_name, **parameters).aio

    async def authorize(
        self, provider_name: str, **options: Unpack[AuthorizeOptions]
    ) -> AsyncAuthorization:
        """Begin a person's sign-in: :meth:`TokenKeeper.authorize`, with the same arguments."""
        with forks_wait():
            from tokenkeeper.async_authorization import AsyncAuthorization

        begin = partial(self._keeper.authorize, provider_name, **options)
        return AsyncAuthorization(await _off_loop(begin), _off_loop)

    @without_arguments_async
    async def complete_authorization(
        self, provider_name: str, callback_url: str, *, state: str
    ) -> AsyncTokenSource:
        """Complete a sign-in of a web application: :meth:`TokenKeeper.complete_authorization`."""
        complete = partial(
            self._keeper.complete_authorization, provider_name, callback_url, state=state
        )
        return (await _off_loop(complete)).aio

    def add_provider(self, provider: BaseOAuth2Provider) -> None:
        """Register a provider: :meth:`TokenKeeper.add_provider`."""
        self._keeper.add_provider(provider)

    def remove_provider(self, provider_name: str) -> None:
        """Forget a provider: :meth:`TokenKeeper.remove_provider`."""
        self._keeper.remove_provider(provider_name)

    def list_providers(self) -> list[str]:
        """Return the registered names: :meth:`TokenKeeper.list_providers`."""
        return self._keeper.list_providers()

    @classmethod
    def from_config(
        cls, source: str | os.PathLike[str] | Mapping[str, Any], **options: Unpack[KeeperOptions]
    ) -> Self:
        """Return the front of a configured keeper: :meth:`TokenKeeper.from_config`."""
        return cls(TokenKeeper.from_config(source, **options))

    @classmethod
    def from_env(cls, **options: Unpack[KeeperOptions]) -> Self:
        """Return the front of a keeper for the environment: :meth:`TokenKeeper.from_env`."""
        return cls(TokenKeeper.from_env(**options))

    async def reload(self) -> ReloadResult:
        """Read the configuration again: :meth:`TokenKeeper.reload`."""
        return await _off_loop(self._keeper.reload)

    async def close(self) -> None:
        """Close the keeper, and with it both fronts: :meth:`TokenKeeper.close`."""
        await _off_loop(self._keeper.close)

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
        return f"<{type(self).__name__} of {self._keeper!r}>"

    # ---- waiting

    async def _ask(self, need: Need) -> CachedToken | Renewal:
        return await self._off_loop_if_inline(partial(self._coordinator.ask, need))

    async def _off_loop_if_inline(self, call: Callable[[], T]) -> T:
        """Call on the loop what only queues a renewal, and off it what may run one inline."""
        return call() if self._background.is_enabled else await _off_loop(call)

    async def _wait_for(self, answer: CachedToken | Renewal, need: Need) -> CachedToken:
        """Suspend until *need* is met, or raise why it can't be."""
        while not isinstance(answer, CachedToken):
            with waiting_for(answer), anyio.move_on_after(need.remaining_wait(self._clock)):
                await answer.wait_async()
            if not answer.is_settled:
                raise need.timeout_error()
            outcome = partial(self._coordinator.answer_from, answer, need)
            answer = await self._off_loop_if_inline(outcome)
        return answer

    async def _worked(self, need: Need, answer: CachedToken | Renewal) -> bool:
        try:
            await self._wait_for(answer, need)
        except (TokenAcquisitionError, InvalidConfigurationError):
            return False
        return True


_limiter: RunVar[anyio.CapacityLimiter] = RunVar("tokenkeeper_limiter")


def _own_limiter() -> anyio.CapacityLimiter:
    # Threads of the application must not keep tokens waiting, nor tokens them.
    try:
        return _limiter.get()
    except LookupError:
        limiter = anyio.CapacityLimiter(INLINE_THREADS)
        _limiter.set(limiter)
        return limiter


async def _off_loop(call: Callable[[], T]) -> T:
    """Run a blocking *call* on a thread, which goes on if the task is cancelled."""
    began = False

    def run() -> T:
        nonlocal began
        began = True
        return call()

    try:
        return await anyio.to_thread.run_sync(run, limiter=_own_limiter(), abandon_on_cancel=True)
    except RuntimeError:
        if began:
            raise
        return call()  # no thread is available: better block the loop than fail the caller


_default: OAuth2TokenManager | None = None


def get_default_manager() -> OAuth2TokenManager:
    """Return the async front of :func:`~tokenkeeper.get_default_keeper`: the same tokens.

    Thread-safe, and the same in every event loop.
    """
    global _default
    keeper = get_default_keeper()
    if _default is None or _default.keeper is not keeper:
        # Two threads may each create one here; both ask the same keeper.
        _default = OAuth2TokenManager(keeper)
    return _default
