"""A provider that looks whether its configuration has changed when the server refuses it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from tokenkeeper.exceptions import TokenAcquisitionError
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider

if TYPE_CHECKING:
    from tokenkeeper.config.registration import Registration

__all__ = ["ReloadableProvider"]

_WHO_WE_ARE = frozenset({"invalid_client", "unauthorized_client"})
"""What a server says of a client whose secret was rotated (RFC 6749 §5.2)."""


class ReloadableProvider(BaseOAuth2Provider):
    """Stands for the provider that its registration makes, and can take over another one.

    Thread-safe: what is taken over is published in one assignment, and a request under way ends
    as it began.

    :param look_again: called with the provider's name when the server refuses the client; returns
        the registration as it is now, or ``None`` if that can't be told.
    """

    def __init__(
        self, registration: Registration, look_again: Callable[[str], Registration | None]
    ) -> None:
        super().__init__(registration.provider_name)
        self._look_again = look_again
        self._take(registration)

    @property
    def registration(self) -> Registration:
        """What the provider behind this one was made from."""
        return self._current[0]

    def take_over(self, registration: Registration) -> bool:
        """Go on with *registration*; ``False`` if that is the same as before."""
        if registration == self.registration:
            return False
        before = self._current[1]
        self._take(registration)
        before.close()
        return True

    def _take(self, registration: Registration) -> None:
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
            if refused.error not in _WHO_WE_ARE:
                raise
            now = self._look_again(self.provider_name)
            if now is None or now == registration:
                raise
        self.take_over(now)
        return request(self._current[1])

    def close(self) -> Awaitable[None] | None:
        """Close the provider behind this one."""
        return self._current[1].close()

    def __repr__(self) -> str:
        return repr(self._current[1])
