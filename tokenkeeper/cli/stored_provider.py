"""A provider whose tokens are stored between runs, so that a loop in a script requests one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from typing import Self

from tokenkeeper._runtime import provider_loop
from tokenkeeper.cli.store import Failure, StoredToken, TokenDirectory
from tokenkeeper.clock import SYSTEM_CLOCK, Clock, instant
from tokenkeeper.exceptions import (
    ConfigurationWarning,
    InvalidConfigurationError,
    OAuth2Error,
)
from tokenkeeper.models import OAuth2Token
from tokenkeeper.names import SEPARATOR, TokenName, TokenParameters, parameters_in, stated_in
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["StoredTokenProvider"]


class StoredTokenProvider(BaseOAuth2Provider):
    """Returns the stored token while it is fresh, and stores each token that *provider* gets.

    :param store: ``None`` if tokens are not stored.
    :param identity: returns the current identity of the provider's spec, which a reload may change
        while a request is in flight.
    :param force: whether to ask the server even if a fresh token is stored.
    :ivar current: the token that was returned last.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        store: TokenDirectory | None,
        identity: Callable[[], str],
        *,
        force: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(
            provider.provider_name, buffer_seconds=provider.buffer_seconds, retry=provider.retry
        )
        self.takes: frozenset[str] = provider.takes
        self.current: StoredToken | None = None
        self._provider = provider
        self._store = store
        self._identity = identity
        self._force = force
        self._clock = clock
        self._failure: Failure | None = None

    def variant(self, name: TokenName, parameters: TokenParameters) -> Self:
        """Return the same for a token with *parameters*, which is stored in another file."""
        twin = super().variant(name, parameters)
        vars(twin).update(
            _provider=self._provider.variant(name, parameters), current=None, _failure=None
        )
        return twin

    def chosen(self) -> list[Self]:
        """Return the variants of which a token is stored, or a failure."""
        stated = [] if self._store is None else self._store.parameters_of(self._identity())
        variants = []
        for each in stated:
            parameters = parameters_in(self.provider_name + SEPARATOR + each)
            # None if a file was damaged, or if it is of a token for another one: a name has only
            # its digest. A tenant may be allowed no longer.
            if parameters:
                with suppress(InvalidConfigurationError):
                    name = TokenName.of(self.provider_name, parameters)
                    variants.append(self.variant(name, parameters))
        return variants

    @property
    def _key(self) -> tuple[str, str]:
        return self._identity(), stated_in(self.token_name)

    def acquire_token(self) -> OAuth2Token:
        """Return the stored token while it is fresh, or request one."""
        return self._stored_or_requested(
            lambda: provider_loop.call(self._provider.acquire_token),
            accept=lambda _: not self._force,
        )

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Return a token that another process stored meanwhile, or request one."""
        return self._stored_or_requested(
            lambda: provider_loop.call(self._provider.refresh_token, token),
            accept=lambda stored: stored.token.access_token != token.access_token,
        )

    def peek(self) -> StoredToken | None:
        """Return the stored token if it is still valid, without a request."""
        now = instant(self._clock)
        stored = None if self._store is None else self._store.read(*self._key)
        if stored is None or not stored.is_sound(now):
            return None
        return stored if now.monotonic < stored.deadlines(self.buffer_seconds).dead_at else None

    def _stored_or_requested(
        self, request: Callable[[], OAuth2Token], *, accept: Callable[[StoredToken], bool]
    ) -> OAuth2Token:
        # First without the lock, which another process may hold for as long as a server hangs.
        current = self._fresh(accept)
        if current is None:
            with self._store.lock(*self._key) if self._store else nullcontext():
                current = self._fresh(accept) or self._request(request, accept)
        self.current = current
        return current.token

    def _fresh(self, accept: Callable[[StoredToken], bool]) -> StoredToken | None:
        """Return the stored token if it is acceptable and not yet due for renewal."""
        stored = self.peek()
        if stored is None or not accept(stored):
            return None
        due_at = stored.deadlines(self.buffer_seconds).renew_at
        return stored if self._clock.monotonic() < due_at else None

    def _request(
        self, request: Callable[[], OAuth2Token], accept: Callable[[StoredToken], bool]
    ) -> StoredToken:
        """Request a token and store it. Needs the lock."""
        requested = instant(self._clock)
        try:
            granted = StoredToken(request(), requested)
        except OAuth2Error as error:
            self.note_failure(str(error))
            stored = self.peek()  # only now, because it may have expired during the request
            if stored is None or not accept(stored):
                raise
            return stored  # a failed renewal is not an error while the token is valid
        if self._store is not None:
            try:
                self._store.write(self._identity(), granted, stated_in(self.token_name))
            except OSError as error:
                warnings.warn(
                    f"the token could not be stored for the next run: {error.strerror}",
                    ConfigurationWarning,
                    stacklevel=2,
                )
        return granted

    def last_failure(self) -> Failure | None:
        """Return why the last request failed, in this run or an earlier one."""
        return self._failure if self._store is None else self._store.failure(*self._key)

    def note_failure(self, error: str) -> None:
        """Store why a request failed, for this run and later ones."""
        failed_at = datetime.fromtimestamp(self._clock.time(), UTC)
        self._failure = Failure(error, failed_at)
        if self._store is not None:
            with suppress(OSError):  # the failure itself is reported anyway
                self._store.note(self._identity(), self._failure, stated_in(self.token_name))

    def close(self) -> None:
        """Close the provider that this one wraps."""
        provider_loop.call(self._provider.close)
