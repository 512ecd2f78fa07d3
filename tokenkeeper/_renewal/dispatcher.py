"""Dispatches renewals: to a worker or to the calling thread, and their outcome to the callers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import cast

from tokenkeeper._renewal.cache import FailureOutcome, TokenCache
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.nesting import check_not_own, is_nested, waiting_for
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.runner import Outcome, Runner, closed_meanwhile
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._runtime.background import Background
from tokenkeeper._runtime.interruptions import interruption_in
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import (
    InvalidConfigurationError,
    OAuth2Error,
    TokenAcquisitionError,
    TokenRejectedError,
    as_refresh_error,
)
from tokenkeeper.names import is_chosen
from tokenkeeper.retry import RetryPolicy, as_oauth2_error

__all__ = ["Dispatcher"]

ASK_AGAIN_SECONDS = 1.0
"""How long to wait where a server grants the rejected token again. Many servers date tokens in
whole seconds, and grant an equal token within the same second."""


class Dispatcher:
    """Has renewals run, publishes what they bring, and wakes the callers that wait. Thread-safe.

    Called without the keeper's lock, which it takes to note an outcome.

    :param retry: the policy for transient failures, where a provider has none of its own.
    """

    def __init__(
        self,
        state: KeeperState,
        background: Background,
        runner: Runner,
        *,
        retry: RetryPolicy,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._state = state
        self._cache: TokenCache = state.cache
        self._background = background
        self._runner = runner
        self._retry = retry
        self._clock = clock
        self._jitter = jitter

    def start(self, renewal: Renewal, *, urgent: bool) -> None:
        """Run *renewal* on a worker, or on this thread if there is no background or no worker."""
        job = partial(self._run, renewal)
        with waiting_for(renewal):
            if not self._background.work(job, urgent=urgent, nested=is_nested()):
                self._run(renewal, inline=True)

    def join(self, renewal: Renewal) -> None:
        """Have *renewal*, which a caller is about to wait for, run although workers wait for it.

        :raises TokenAcquisitionError: if the caller is that renewal's own provider.
        """
        check_not_own(renewal)
        if is_nested() and not renewal.is_claimed:  # its worker may be one that waits for it
            self._background.work(partial(self._run, renewal), urgent=True, nested=True)

    def settle_interrupted(self, renewal: Renewal, struck: BaseException) -> None:
        """Have *renewal* settled although an exception struck the caller that had to start it."""
        # If a worker has it already, that does no harm: it runs once.
        try:
            if self._background.work(partial(self._run, renewal), urgent=True):
                return
        except InvalidConfigurationError as refused:  # this process may start no thread
            struck = refused
        error = as_oauth2_error(struck, renewal.provider.provider_name)
        self._settle(renewal, Outcome(error, interruption_in(struck)))

    def _run(self, renewal: Renewal, *, inline: bool = False) -> None:
        if renewal.claim():
            renewal.context.run(self._run_claimed, renewal, inline)

    def _run_claimed(self, renewal: Renewal, inline: bool) -> None:
        if self._background.closing.is_set():
            renewal.fail(closed_meanwhile())
            return
        handled_before = sys.exception()
        renewal.started_at = self._clock.monotonic()
        try:
            outcome = self._runner.run(renewal, inline=inline)
            while outcome.look_again_seconds is not None:
                if self._is_put_off(renewal, outcome):
                    return
                wait = outcome.look_again_seconds
                outcome = self._runner.run(renewal, inline=inline, after_seconds=wait)
            if self._must_ask_again(renewal, outcome):
                outcome = self._runner.run(renewal, inline=inline, after_seconds=ASK_AGAIN_SECONDS)
            self._settle(renewal, outcome)
        except BaseException as error:  # noqa: BLE001 - whatever struck, callers must not wait on
            outcome = Outcome.of_error(error, renewal, inline=inline, handled_before=handled_before)
            self._settle(renewal, outcome)
        if outcome.interruption is not None:  # the host stops this thread: as it was raised
            raise outcome.interruption

    def _is_put_off(self, renewal: Renewal, outcome: Outcome) -> bool:
        """End *renewal* while another process requests its token, if no caller waits for it.

        It starts again a moment later. So no worker waits for another process unless a caller
        does, however many tokens are due.
        """
        wait, name, state = outcome.look_again_seconds or 0.0, renewal.token_name, self._state
        with state.lock:
            now = self._clock.monotonic()
            if renewal.is_wanted_at(now):
                return False
            token = renewal.replaces
            if state.settle(renewal):
                token = self._cache.put_off(name, now + wait)
                if token is not None:
                    self._background.scheduler.schedule(name, now + wait)
        if token is None:
            renewal.fail(cast("OAuth2Error", outcome.result))
        else:
            renewal.succeed(token)
        return True

    def _must_ask_again(self, renewal: Renewal, outcome: Outcome) -> bool:
        """Return whether an API rejected the token before, and the server may grant another."""
        token, name = outcome.result, renewal.token_name
        if isinstance(token, OAuth2Error):
            return False
        with self._state.lock:
            was_rejected = self._was_rejected_before(renewal, token)
            return was_rejected and not self._cache.rejections.insists(name)

    def _was_rejected_before(self, renewal: Renewal, token: CachedToken) -> bool:
        name = renewal.token_name
        return self._cache.was_rejected_before(name, token, after_rejection=renewal.after_rejection)

    def _is_armed(self, renewal: Renewal) -> bool:
        """Return whether the first read of what *renewal* brings is to be noted.

        A caller that waits for a token uses it. Only callers that choose parameters may come once
        and never again. Without a background nothing is renewed unless a caller asks.
        """
        unused = renewal.is_scheduled or is_chosen(renewal.token_name)
        return unused and self._background.is_enabled

    def _settle(self, renewal: Renewal, outcome: Outcome) -> None:
        """Note how *renewal* ended, and wake its waiters."""
        renewal.interrupted = outcome.interruption is not None
        if isinstance(outcome.result, OAuth2Error):
            self._fail(renewal, outcome.result)
        else:
            self._succeed(renewal, outcome.result)

    def _succeed(self, renewal: Renewal, token: CachedToken) -> None:
        """Publish *token*, which *renewal* brought, and hand it to the waiters."""
        state, cache, name = self._state, self._cache, renewal.token_name
        rejection: TokenRejectedError | None = None
        with state.lock:
            counts = state.settle(renewal)
            if counts:
                token = cache.up_to_date(token)
            if counts and self._was_rejected_before(renewal, token):
                rejection = cache.store_rejected(name, token)
                remaining = token.ends_at - self._clock.monotonic()
                follows = FailureOutcome(remaining_seconds=remaining)
                events = renewal.failure_events(rejection, follows, self._clock)
                state.notifier.enqueue(*events, state.pause_event(name))
            elif counts:
                cache.store(name, token, armed=self._is_armed(renewal))
                state.notifier.enqueue(renewal.success_event(token, self._clock))
                state.notifier.subscriptions.enqueue(name, token.token)
            if counts:
                self._background.scheduler.schedule(name, token.renew_at)
        if counts:
            self._background.ensure_running()
        if rejection is None:
            renewal.succeed(token)
        else:
            renewal.fail(rejection)
        state.notifier.deliver(log_here=True)

    def _fail(self, renewal: Renewal, error: OAuth2Error) -> None:
        """Note why *renewal* brought no token, and pass the error to the waiters."""
        name = renewal.token_name
        if renewal.replaces is not None and isinstance(error, TokenAcquisitionError):
            error = as_refresh_error(error)
        with self._state.lock:
            if self._state.settle(renewal):
                policy = renewal.provider.retry or self._retry
                follows = self._cache.fail(name, error, policy, self._jitter())
                if follows.renew_at is not None:
                    self._background.scheduler.schedule(name, follows.renew_at)
                if not renewal.interrupted:
                    events = renewal.failure_events(error, follows, self._clock)
                    self._state.notifier.enqueue(*events)
        renewal.fail(error)
        self._state.notifier.deliver(log_here=True)
