"""Runs one renewal: requests with retries, until there is a token or a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tokenkeeper._renewal.attempt import LONGEST_MOMENT_SECONDS, moment, request_token
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.nesting import running_here
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import (
    KeeperClosedError,
    OAuth2Error,
    TokenAcquisitionError,
    TokenWaitTimeoutError,
)
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy, as_oauth2_error, call_with_retries, is_transient

if TYPE_CHECKING:
    from tokenkeeper._renewal.memberships import Memberships

__all__ = ["Outcome", "Runner", "closed_meanwhile"]


class Outcome(NamedTuple):
    """How a renewal ended.

    :ivar result: the token, or the error for the callers that wait.
    :ivar look_again_seconds: when to look at the store again, because another process is requesting
        the token; ``None`` if the renewal ended. Until then, *result* is what to give up with.
    :ivar interruption: the exception by which the host stopped the thread, which says nothing about
        the token. It is to be raised on that thread.
    """

    result: CachedToken | OAuth2Error
    interruption: BaseException | None = None
    look_again_seconds: float | None = None

    @classmethod
    def of_error(
        cls,
        error: BaseException,
        renewal: Renewal,
        *,
        inline: bool,
        handled_before: BaseException | None,
    ) -> Outcome:
        """Return the outcome of a renewal that raised *error*, whatever that is.

        :param inline: whether it ran on a caller's thread, where hosts raise exceptions of any
            class; a worker's thread is the keeper's own.
        :param handled_before: ``sys.exception()`` as the renewal began to run.
        """
        struck: BaseException | None = None
        if isinstance(error, _InterruptedError):
            struck = error.struck
        elif inline:
            struck = interruption_in(error, handled_before)
        elif not isinstance(error, Exception):
            struck = error
        name = renewal.provider.provider_name
        return cls(as_oauth2_error(struck or error, name), struck)


class Runner:
    """Runs renewals on the calling thread. Thread-safe; holds no token and no provider.

    :param retry: the policy for transient failures, where a provider has none of its own.
    :param background: its event ``closing`` ends all waits.
    :param next_number: returns the next sequence number. It orders callers and requests.
    :ivar memberships: the stores of the keeper, where attempts are made with others.
    :ivar retry: the policy.
    :ivar clock: the clock.
    :ivar jitter: returns a number from 0 to 1.
    """

    def __init__(
        self,
        background: Background,
        *,
        retry: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float],
        next_number: Callable[[], int],
    ) -> None:
        self._background = background
        self.retry = retry
        self.clock = clock
        self.jitter = jitter
        self._next_number = next_number
        self.memberships: Memberships | None = None

    def run(self, renewal: Renewal, *, inline: bool, after_seconds: float = 0.0) -> Outcome:
        """Request the token of *renewal*, with retries; return what came of it. Raises nothing.

        :param after_seconds: wait this long first.
        """
        handled_before = sys.exception()
        outer = running_here.set(renewal)
        try:
            if after_seconds:
                self._wait(after_seconds)
            return Outcome(self._requested(renewal, inline=inline))
        except LookAgain as again:
            return Outcome(_requested_elsewhere(renewal), None, again.after_seconds)
        except BaseException as error:  # noqa: BLE001 - whatever it was, callers wait for an outcome
            return Outcome.of_error(error, renewal, inline=inline, handled_before=handled_before)
        finally:
            running_here.reset(outer)

    def _requested(self, renewal: Renewal, *, inline: bool) -> CachedToken:
        """Return what the provider grants, requested again where that may help.

        Where a server only says that it is too early, it is asked again even if no caller waits
        yet: callers that come meanwhile find the request under way.
        """
        attempt = self._attempt_inline if inline else self._attempt
        give_up_at = self.clock.monotonic() + 2 * LONGEST_MOMENT_SECONDS
        while True:
            try:
                return call_with_retries(
                    partial(attempt, renewal),
                    renewal.provider.retry or self.retry,
                    clock=self.clock,
                    closing=self._background.closing,
                    wanted_at=renewal.is_wanted_at,
                    is_worthwhile=partial(_is_worthwhile, renewal),
                )
            except TokenAcquisitionError as error:
                wait = moment(error)
                if wait is None or self.clock.monotonic() + wait > give_up_at:
                    raise
            self._wait(wait)

    def _wait(self, seconds: float) -> None:
        if self.clock.wait(self._background.closing, seconds):
            raise closed_meanwhile()

    def _attempt(self, renewal: Renewal) -> CachedToken:
        membership = self.memberships and self.memberships.of(renewal.provider)
        if membership:
            return membership.attempts.attempt(renewal)
        return self.ask(renewal, renewal.replaces)

    def ask(
        self,
        renewal: Renewal,
        replaces: CachedToken | None,
        provider: BaseOAuth2Provider | None = None,
    ) -> CachedToken:
        """Make the one request of an attempt, for a token in place of *replaces*.

        :param provider: makes it; by default that of *renewal*.
        """
        renewal.last_sent = sent = self._next_number()
        renewal.attempts += 1
        renewal.useless = None
        renewal.has_awaited = False
        return request_token(
            provider or renewal.provider,
            replaces,
            sent=sent,
            clock=self.clock,
            jitter=self.jitter,
            refused=renewal.after_rejection,
            claims=renewal.claims,
            useless=renewal.note_useless,
        )

    def _attempt_inline(self, renewal: Renewal) -> CachedToken:
        handled_before = sys.exception()
        try:
            return self._attempt(renewal)
        except Exception as error:
            struck = interruption_in(error, handled_before)
            if struck is None:
                raise
        raise _InterruptedError(struck)


class _InterruptedError(BaseException):
    """Carries a host's exception past the retries, which would retry after a TimeoutError."""

    def __init__(self, struck: BaseException) -> None:
        super().__init__()
        self.struck = struck


def _is_worthwhile(renewal: Renewal, error: BaseException) -> bool:
    """Return whether another try may help after *error*.

    Not for the token of another provider, which this one needs: its requests were repeated already,
    and in a chain each link would multiply them.
    """
    own = (None, renewal.provider.provider_name)
    if renewal.has_awaited and isinstance(error, TokenAcquisitionError) and error.attempts:
        return error.provider_name in own and is_transient(error)
    return is_transient(error)


def _requested_elsewhere(renewal: Renewal) -> TokenWaitTimeoutError:
    """Return the error of a renewal that no caller waits for any longer; another process asks."""
    name = renewal.provider.provider_name
    return TokenWaitTimeoutError(
        f"provider {name!r}: another process of the fleet is requesting this token, and it did not "
        "arrive within the timeout of this call. Call again, or allow more time.",
        provider_name=name,
        transient=True,
    )


def closed_meanwhile() -> KeeperClosedError:
    """Return the error for callers that were waiting when the keeper was closed."""
    return KeeperClosedError("the keeper was closed while this token was requested")
