"""Scripted providers, for tests of code that uses a keeper."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio

from tokenkeeper.clock import Clock
from tokenkeeper.models import DEFAULT_BUFFER_SECONDS, OAuth2Token
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.testing.current import CURRENT_CLOCK

if TYPE_CHECKING:
    from tokenkeeper.retry import RetryPolicy

__all__ = ["AsyncMockProvider", "MockProvider", "Outcome", "StaticProvider"]

Outcome = BaseException | OAuth2Token | str | float
"""The outcome of a call: an error, a token, a token's text, or a token's lifetime."""

GATE_SECONDS = 30.0
"""How long a call can be held, so that a test fails instead of hanging."""

_POLL_SECONDS = 0.002


class _Scripted(BaseOAuth2Provider):
    """The common part of the mocks: script, gate and counts. Thread-safe."""

    def __init__(
        self,
        provider_name: str,
        *,
        lifetime_seconds: float = 3600.0,
        script: Iterable[Outcome] = (),
        scope: str | None = None,
        clock: Clock = CURRENT_CLOCK,
        buffer_seconds: float = DEFAULT_BUFFER_SECONDS,
        retry: RetryPolicy | None = None,
    ) -> None:
        super().__init__(provider_name, buffer_seconds=buffer_seconds, retry=retry)
        self.lifetime_seconds = lifetime_seconds
        self.scope = scope
        self.script: deque[Outcome] = deque(script)
        self.entered: threading.Event = threading.Event()
        self.acquire_calls: int = 0
        self.refresh_calls: int = 0
        self.close_calls = 0
        self.refreshed: list[OAuth2Token] = []
        self._clock = clock
        self._lock = threading.Lock()  # guards the counts
        self._gate = threading.Event()
        self._gate.set()

    @property
    def calls(self) -> int:
        """How often a token was requested, by either method."""
        return self.acquire_calls + self.refresh_calls

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold every call inside the provider until the block ends or :meth:`release` is called."""
        self.entered.clear()
        self._gate.clear()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Let the held calls go on."""
        self._gate.set()

    def _enter(self, replaced: OAuth2Token | None) -> int:
        with self._lock:
            if replaced is None:
                self.acquire_calls += 1
            else:
                self.refresh_calls += 1
                self.refreshed.append(replaced)
            number = self.calls
        self.entered.set()
        return number

    def _outcome(self, number: int) -> OAuth2Token:
        try:
            outcome = self.script.popleft()
        except IndexError:
            outcome = self.lifetime_seconds
        if isinstance(outcome, BaseException):
            raise outcome
        if isinstance(outcome, OAuth2Token):
            return outcome
        if isinstance(outcome, str):
            return _token(self._clock, outcome, self.lifetime_seconds, self.scope)
        text = f"{self.provider_name}-token-{number}"
        return _token(self._clock, text, outcome, self.scope)


class MockProvider(_Scripted):
    """Grants ``NAME-token-1``, ``NAME-token-2``, ... or follows a script. Thread-safe.

    :param lifetime_seconds: the lifetime of its tokens, an hour by default; may be assigned to.
    :param script: the outcomes of the next calls, in order: an exception is raised, a number is the
        lifetime of a token, a string its text, and an ``OAuth2Token`` is returned unchanged. After
        the last, tokens go on as before. ``provider.script`` may be appended to.
    :param scope: the scope of the tokens; none by default.
    :param clock: the clock of the keeper under test; by default that of the test.

    :ivar acquire_calls: how often ``acquire_token`` was called; ``refresh_calls`` and
        ``close_calls`` likewise, ``calls`` for the first two.
    :ivar refreshed: the tokens that ``refresh_token`` was called with.
    :ivar entered: an event that each call sets as it begins; ``hold()`` clears it.
    """

    def acquire_token(self) -> OAuth2Token:
        """Return the next token, or raise the next error."""
        return self._answer(self._enter(None))

    def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Return the next token, or raise the next error."""
        return self._answer(self._enter(token))

    def _answer(self, number: int) -> OAuth2Token:
        if not self._gate.wait(GATE_SECONDS):
            raise RuntimeError("the held call was not released in time")
        return self._outcome(number)

    def close(self) -> None:
        """Count the call."""
        self.close_calls += 1


class AsyncMockProvider(_Scripted):
    """A :class:`MockProvider` whose methods are ``async def``, with the same parameters."""

    async def acquire_token(self) -> OAuth2Token:
        """Return the next token, or raise the next error."""
        return await self._answer(self._enter(None))

    async def refresh_token(self, token: OAuth2Token) -> OAuth2Token:
        """Return the next token, or raise the next error."""
        return await self._answer(self._enter(token))

    async def _answer(self, number: int) -> OAuth2Token:
        # A thread opens the gate at which a task waits. For a test, polling is simpler than a hop.
        with anyio.move_on_after(GATE_SECONDS):
            while not self._gate.is_set():
                await anyio.sleep(_POLL_SECONDS)
            return self._outcome(number)
        raise RuntimeError("the held call was not released in time")

    async def close(self) -> None:
        """Count the call."""
        self.close_calls += 1


class StaticProvider(BaseOAuth2Provider):
    """Grants the same access token each time, with its full lifetime. Thread-safe.

    :param access_token: the text of the token.
    :param lifetime_seconds: its lifetime, an hour by default.
    :param clock: the clock of the keeper under test; by default that of the test.
    """

    def __init__(
        self,
        provider_name: str,
        access_token: str,
        lifetime_seconds: float = 3600.0,
        *,
        clock: Clock = CURRENT_CLOCK,
    ) -> None:
        super().__init__(provider_name)
        self._access_token = access_token
        self._lifetime_seconds = lifetime_seconds
        self._clock = clock

    def acquire_token(self) -> OAuth2Token:
        """Return the token."""
        return _token(self._clock, self._access_token, self._lifetime_seconds, None)


def _token(clock: Clock, text: str, lifetime_seconds: float, scope: str | None) -> OAuth2Token:
    ends = datetime.fromtimestamp(clock.time(), UTC) + timedelta(seconds=lifetime_seconds)
    return OAuth2Token(text, "Bearer", ends, scope)
