"""A provider whose tokens are kept between two runs, so that a script's loop asks once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime

from tokenkeeper._runtime import provider_loop
from tokenkeeper.cli.store import Failure, Kept, Shelf
from tokenkeeper.clock import SYSTEM_CLOCK, Clock, instant
from tokenkeeper.exceptions import ConfigurationWarning, OAuth2Error
from tokenkeeper.models import OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["KeptProvider"]


class KeptProvider(BaseOAuth2Provider):
    """Takes a token from the shelf while it is fresh, and puts there what *provider* grants.

    :param shelf: ``None`` if nothing is kept.
    :param identity: returns what the provider's requests depend on now: a rotated secret may be
        taken over while a request is under way.
    :param force: ask the server, whatever is kept.
    :ivar current: the token that was handed out last.
    """

    def __init__(
        self,
        provider: BaseOAuth2Provider,
        shelf: Shelf | None,
        identity: Callable[[], str],
        *,
        force: bool = False,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(
            provider.provider_name, buffer_seconds=provider.buffer_seconds, retry=provider.retry
        )
        self.current: Kept | None = None
        self._provider = provider
        self._shelf = shelf
        self._identity = identity
        self._force = force
        self._clock = clock
        self._failure: Failure | None = None

    def acquire_token(self) -> OAuth2Token:
        """Return what is kept while that is fresh, or else ask."""
        return self._take_or_ask(
            lambda: provider_loop.call(self._provider.acquire_token),
            will_do=lambda _: not self._force,
        )

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Return what another process has put there since, or else ask."""
        return self._take_or_ask(
            lambda: provider_loop.call(self._provider.refresh_token, token),
            will_do=lambda kept: kept.token.access_token != token.access_token,
        )

    def peek(self) -> Kept | None:
        """Return what is kept and can still be used, without asking anybody."""
        now = instant(self._clock)
        kept = None if self._shelf is None else self._shelf.read(self._identity())
        if kept is None or not kept.is_sound(now):
            return None
        return kept if now.monotonic < kept.deadlines(self.buffer_seconds).dead_at else None

    def _take_or_ask(
        self, ask: Callable[[], OAuth2Token], *, will_do: Callable[[Kept], bool]
    ) -> OAuth2Token:
        # A first look without the lock: another process may hold it for as long as a server hangs.
        kept = self._fresh(will_do)
        if kept is None:
            with self._shelf.lock(self._identity()) if self._shelf else nullcontext():
                kept = self._fresh(will_do) or self._ask(ask, will_do)
        self.current = kept
        return kept.token

    def _fresh(self, will_do: Callable[[Kept], bool]) -> Kept | None:
        """Return what is kept if it will do and is not yet due for renewal."""
        kept = self.peek()
        if kept is None or not will_do(kept):
            return None
        due_at = kept.deadlines(self.buffer_seconds).renew_at
        return kept if self._clock.monotonic() < due_at else None

    def _ask(self, ask: Callable[[], OAuth2Token], will_do: Callable[[Kept], bool]) -> Kept:
        """Ask, and keep what is granted. Needs the lock."""
        asked = instant(self._clock)
        try:
            granted = Kept(ask(), asked)
        except OAuth2Error as error:
            self.note_failure(str(error))
            kept = self.peek()  # only now: what could be used before the request may have ended
            if kept is None or not will_do(kept):
                raise
            return kept  # a renewal that fails is nobody's error while a token works
        if self._shelf is not None:
            try:
                self._shelf.write(self._identity(), granted)
            except OSError as error:
                warnings.warn(
                    f"the token is not kept for the next run: {error.strerror}",
                    ConfigurationWarning,
                    stacklevel=2,
                )
        return granted

    def last_failure(self) -> Failure | None:
        """Return why the last request brought no token, in this run or another."""
        return self._failure if self._shelf is None else self._shelf.failure(self._identity())

    def note_failure(self, error: str) -> None:
        """Note why there is no token, for this run and those to come."""
        failed_at = datetime.fromtimestamp(self._clock.time(), UTC)
        self._failure = Failure(error, failed_at)
        if self._shelf is not None:
            with suppress(OSError):  # who is told of the failure needs no note of it
                self._shelf.note(self._identity(), self._failure)

    def close(self) -> None:
        """Close the provider behind this one."""
        provider_loop.call(self._provider.close)
