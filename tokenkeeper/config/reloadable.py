"""A provider that looks whether its configuration has changed when the server refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.oauth.verdict import known_code
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import is_transient

__all__ = ["Recipe", "ReloadableProvider"]


class Recipe(Protocol):
    """What a provider is made from. Immutable; equal ones make equal providers."""

    @property
    def provider_name(self) -> str:
        """The name that callers ask for."""
        ...

    def make_provider(self) -> BaseOAuth2Provider:
        """Return a new provider."""
        ...


R = TypeVar("R", bound=Recipe)


class ReloadableProvider(BaseOAuth2Provider, Generic[R]):
    """Stands for the provider that its registration makes, and can take over another one.

    Thread-safe: what is taken over is published in one assignment, and a request under way ends
    as it began.

    :param look_again: called with this provider when the server refuses it, whatever it says: a
        secret, a scope or an endpoint may have been corrected. It has the provider take over what
        changed, and raises nothing.
    """

    def __init__(
        self, registration: R, look_again: Callable[[ReloadableProvider[R]], None]
    ) -> None:
        super().__init__(registration.provider_name)
        self._look_again = look_again
        self._take(registration)

    @property
    def registration(self) -> R:
        """What the provider behind this one was made from."""
        return self._current[0]

    def take_over(self, registration: R) -> bool:
        """Go on with *registration*; ``False`` if that is the same as before."""
        if registration == self.registration:
            return False
        before = self._current[1]
        self._take(registration)
        before.close()
        return True

    def _take(self, registration: R) -> None:
        provider = registration.make_provider()
        self._current = registration, provider
        self.buffer_seconds = provider.buffer_seconds
        self.retry = provider.retry

    def acquire_token(self) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token."""
        return self._ask(lambda provider: provider.acquire_token())

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token | Awaitable[OAuth2Token]:
        """Ask for a token in the place of *token*."""
        return self._ask(lambda provider: provider.refresh_token(token))

    def _ask(
        self, request: Callable[[BaseOAuth2Provider], OAuth2Token | Awaitable[OAuth2Token]]
    ) -> OAuth2Token | Awaitable[OAuth2Token]:
        registration, provider = self._current
        try:
            return request(provider)
        except TokenAcquisitionError as refused:
            if is_transient(refused) and known_code(refused.error or "") != "invalid_client":
                raise
            self._look_again(self)
            if self.registration == registration:
                raise
        return request(self._current[1])

    def close(self) -> Awaitable[None] | None:
        """Close the provider behind this one."""
        return self._current[1].close()

    def __repr__(self) -> str:
        return repr(self._current[1])
