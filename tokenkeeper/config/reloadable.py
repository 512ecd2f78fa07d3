"""A provider that reads its configuration again when the server rejects its request."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Self

from tokenkeeper._runtime import provider_loop
from tokenkeeper._runtime.fork import late_import
from tokenkeeper.config.spec import ProviderSpec
from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import TokenName, TokenParameters
from tokenkeeper.oauth.error_codes import known_code
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy, is_transient

if TYPE_CHECKING:
    from tokenkeeper.oauth.revocation import TokenKind
    from tokenkeeper.providers.grants.sign_in import Asked, PendingSignIn

__all__ = ["ReloadableProvider"]


_Answer = OAuth2Token | Awaitable[OAuth2Token]

_log = logging.getLogger("tokenkeeper.config")


def _of_current(name: str) -> Any:
    """Return a property: *name* of the registered provider's current one, for variants as well."""
    return property(lambda self: getattr(self.registered.provider, name))


class ReloadableProvider(BaseOAuth2Provider):
    """A provider that delegates to the one its spec makes, and can switch to another spec.

    Thread-safe: a switch is one assignment, and a request in flight ends with the provider that it
    began with. The provider can be of any kind, ``async def`` included.

    :param look_again: called with this provider when the server rejects a request for good, because
        a secret, a scope or an endpoint may have been corrected. It switches the provider to its
        current spec and raises nothing. It may block, so it is never called on an event loop.
    """

    takes: frozenset[str] = _of_current("takes")
    repeatable: bool = _of_current("repeatable")
    custody: object = _of_current("custody")
    longest_request_seconds: float = _of_current("longest_request_seconds")

    _registered: ReloadableProvider | None = None  # the one that this is a variant of
    _variant: tuple[BaseOAuth2Provider, BaseOAuth2Provider]  # of the current provider, and it

    def __init__(
        self, spec: ProviderSpec, look_again: Callable[[ReloadableProvider], None]
    ) -> None:
        super().__init__(spec.provider_name)
        self._look_again = look_again
        self._take(spec)
        self._granted_by = self._current[1]  # or was made first, before any token was granted

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return a provider that delegates to a variant of the current provider.

        It follows this one to other specs.
        """
        twin = super().variant(name, parameters)
        current = self.provider.variant(name, parameters)
        vars(twin).update(_registered=self, _variant=(self.provider, current), _granted_by=current)
        return twin

    @property
    def provider(self) -> BaseOAuth2Provider:
        """The current provider."""
        if self._registered is None:
            return self._current[1]
        base, variant = self._variant
        current = self._registered.provider
        if current is not base:
            variant = current.variant(TokenName(self.token_name), self.parameters)
            self._variant = current, variant
            self.buffer_seconds, self.retry = variant.buffer_seconds, variant.retry
        return variant

    @property
    def registered(self) -> ReloadableProvider:
        """The one that this is a variant of, or this one itself."""
        return self._registered or self

    @property
    def spec(self) -> ProviderSpec:
        """The spec of the current provider."""
        return self._current[0]

    def take_over(self, spec: ProviderSpec) -> bool:
        """Switch to *spec*, and return whether it differs from the one before.

        The previous provider is closed. If that is an ``async def`` method, this waits for it.
        """
        if spec == self.spec:
            return False
        before = self._current[1]
        self._take(spec)
        try:
            provider_loop.call(before.close)
        except Exception as error:  # noqa: BLE001 - the new provider is already in use
            what = type(error).__name__
            _log.warning(
                "provider %r: closing the previous one failed: %s", self.provider_name, what
            )
        return True

    def _take(self, spec: ProviderSpec) -> None:
        provider = spec.make_provider()
        self._current = spec, provider
        self.buffer_seconds: float = provider.buffer_seconds
        self.retry: RetryPolicy | None = provider.retry

    @property
    def grant_name(self) -> str:
        """The name of the token whose refresh token the current provider uses."""
        return self.provider.grant_name

    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token."""
        return self._ask(lambda provider: provider.acquire_token())

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token to replace *token*.

        The first request after a switch is a new grant, because a refresh token belongs to the
        client, the scope and the server of the previous spec. If only the client's secret was
        replaced, a refresh token that works once stays in use.
        """

        def request(provider: BaseOAuth2Provider) -> _Answer:
            if self._goes_on_with(provider):
                return provider.refresh_token(token)
            return provider.acquire_token()

        return self._ask(request)

    def replace_refused_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token in place of *token*, which an API refused, like :meth:`refresh_token`."""

        def request(provider: BaseOAuth2Provider) -> _Answer:
            if self._goes_on_with(provider):
                return provider.replace_refused_token(token)
            return provider.acquire_token()

        return self._ask(request)

    def replace_challenged_token(
        self, token: OAuth2Token, claims: str
    ) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token that has the *claims* of an API's challenge."""

        def request(provider: BaseOAuth2Provider) -> _Answer:
            if self._goes_on_with(provider):
                return provider.replace_challenged_token(token, claims)
            return provider.acquire_token()

        return self._ask(request)

    def _goes_on_with(self, provider: BaseOAuth2Provider) -> bool:
        return provider is self._granted_by or provider.continues(self._granted_by)

    def _ask(self, request: Callable[[BaseOAuth2Provider], _Answer]) -> _Answer:
        provider = self.provider
        try:
            answer = request(provider)
            if inspect.isawaitable(answer):
                return self._finish(answer, provider, request)
        except TokenAcquisitionError as refused:
            if not _may_be_corrected(refused):
                raise
            self._look_again(self.registered)
            if self.provider is provider:
                raise
        else:
            self._granted_by = provider
            return answer
        return self._ask_once(request)

    async def _finish(
        self,
        answer: Awaitable[OAuth2Token],
        provider: BaseOAuth2Provider,
        request: Callable[[BaseOAuth2Provider], _Answer],
    ) -> OAuth2Token:
        """Do the same as :meth:`_ask` for an awaitable answer."""
        try:
            token = await answer
        except TokenAcquisitionError as refused:
            if not _may_be_corrected(refused):
                raise
            registered = self.registered
            try:
                await late_import("asyncio").to_thread(self._look_again, registered)
            except RuntimeError:  # no thread could be started
                self._look_again(registered)
            if self.provider is provider:
                raise
        else:
            self._granted_by = provider
            return token
        again = self._ask_once(request)
        return await again if inspect.isawaitable(again) else again

    def _ask_once(self, request: Callable[[BaseOAuth2Provider], _Answer]) -> _Answer:
        """Ask the current provider, without a further look at the configuration."""
        provider = self.provider
        answer = request(provider)
        if inspect.isawaitable(answer):
            return self._noted(answer, provider)
        self._granted_by = provider
        return answer

    async def _noted(
        self, answer: Awaitable[OAuth2Token], provider: BaseOAuth2Provider
    ) -> OAuth2Token:
        token = await answer
        self._granted_by = provider
        return token

    def begin_sign_in(self, asked: Asked) -> PendingSignIn:
        """Begin a sign-in with the current provider."""
        return self.provider.begin_sign_in(asked)

    def finish_sign_in(
        self,
        pending: PendingSignIn,
        callback_url: str | None = None,
        *,
        once: Callable[[], None] | None = None,
    ) -> OAuth2Token:
        """Finish a sign-in with the current provider, which its refresh token then belongs to."""
        provider = self.provider
        token = provider.finish_sign_in(pending, callback_url, once=once)
        self._granted_by = provider
        return token

    def sign_in_wait_seconds(
        self, error: TokenAcquisitionError, interval_seconds: float
    ) -> float | None:
        """Return when to ask again, as the current provider does."""
        return self.provider.sign_in_wait_seconds(error, interval_seconds)

    def revoke_token(self, token: OAuth2Token | None, kind: TokenKind) -> bool | Awaitable[bool]:
        """Have the current provider revoke *token*."""
        return self.provider.revoke_token(token, kind)

    def introspect_token(
        self, token: OAuth2Token
    ) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]:
        """Have the current provider ask about *token*."""
        return self.provider.introspect_token(token)

    def close(self) -> Awaitable[None] | None:
        """Close the current provider."""
        return self.provider.close()

    def after_fork_in_child(self) -> None:
        """Notify the current provider of the fork."""
        self.provider.after_fork_in_child()

    def describe(self) -> Mapping[str, object]:
        """Return the description of the current provider."""
        return self.provider.describe()

    def identity(self) -> Mapping[str, object]:
        """Return the identity of the current provider."""
        return self.provider.identity()

    def for_another_process(self) -> Callable[[], BaseOAuth2Provider]:
        """Return a function that makes the current provider again, without its configuration."""
        return self.provider.for_another_process()

    def __repr__(self) -> str:
        return repr(self.provider)


def _may_be_corrected(refused: TokenAcquisitionError) -> bool:
    """Return whether a changed configuration may resolve *refused*.

    A rejected client may have a new secret, even if the server says when to ask again.
    """
    return not is_transient(refused) or known_code(refused.error or "") == "invalid_client"
