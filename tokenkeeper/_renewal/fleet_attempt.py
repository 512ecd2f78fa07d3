"""One attempt at a token that a fleet shares: look, claim, ask, then publish or fail.

.. code-block:: text

    look     a newer token in the store?                 adopt it, and make no request
             the store older than what is here?          restore it from memory
             a failure that still stands?                raise it, and make no request
    claim    somebody else is asking?                    look again soon, without a lock
    ask      is the claim still young?                   or else look again
             the provider's one request; nothing is locked meanwhile
    publish  is the generation still the one claimed?    or else adopt what is there
    fail     share why there is no token, and release the claim

Nothing here is on the read path, and only a process that holds the claim talks to the server. A
store that can't be used is handled in :meth:`FleetAttempts._without_store`.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet, View
from tokenkeeper._renewal.look_again import LookAgain
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import ClaimTakenOver, RecordReplaced, TokenEvent
from tokenkeeper.exceptions import (
    StoreUnavailableError,
    TokenAcquisitionError,
    own_copy,
)
from tokenkeeper.names import provider_of
from tokenkeeper.providers.claims import claimed, without_claim
from tokenkeeper.retry import RetryPolicy, as_oauth2_error, is_interruption, is_transient
from tokenkeeper.stores.base import Claim
from tokenkeeper.stores.contents import StoredFailure

if TYPE_CHECKING:
    from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["FleetAttempts"]

PATIENCE_SECONDS = 5.0
"""A claim is taken over this long after the longest request that its owner may be making. Callers
without a valid token take it over after this time alone, if the request may be repeated."""

SHORTEST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.25
POLL_GROWTH = 1.5
"""How often the store is looked at while another process asks the server."""

LAST_LOOK_SECONDS = 2.5
"""A claim that is older is made again right before the request: a paused process must not send what
another one has sent meanwhile."""

ALONE_AFTER = 0.6
"""How much of the buffer passes before a valid token is renewed without the store."""

LONGEST_PAUSE_SECONDS = 5.0
"""How long a transient failure that was met by any process stands at most for all of them."""

FOREVER_SECONDS = 10 * 365 * 86400.0

ROLLBACK_SECONDS = 10.0
"""After the store lost records, a request that works once waits this long at most: another process
may have a newer refresh token, and restore it."""

MOST_LOOKS = 5
"""How often one attempt looks, claims and finds that another process was faster."""

LONGEST_PUBLISHING_SECONDS = 600.0
"""How long a token that works once is offered to a store that can't be used."""


class FleetAttempts:
    """Makes attempts at tokens of a fleet. Thread-safe; blocks.

    :param ask: makes the provider's one request, in place of the given token.
    :param is_rejected: returns whether an API rejected this access token of that name.
    :param report: delivers an event; called without a lock.
    :param in_background: has a call made on a thread that no caller waits for.
    :param closing: returns the event that is set when the keeper closes.
    :param cooldown_seconds: how long a final refusal stands for all processes.
    """

    def __init__(
        self,
        fleet: Fleet,
        *,
        ask: Callable[[Renewal, CachedToken | None], CachedToken],
        is_rejected: Callable[[str, str], bool],
        report: Callable[[TokenEvent], None],
        in_background: Callable[[Callable[[], None]], None],
        closing: Callable[[], threading.Event],
        retry: RetryPolicy,
        cooldown_seconds: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._ask = ask
        self._is_rejected = is_rejected
        self._report = report
        self._in_background = in_background
        self._closing = closing
        self._retry = retry
        self._cooldown_seconds = cooldown_seconds
        self._clock = clock
        self._jitter = jitter

    def attempt(self, renewal: Renewal) -> CachedToken:
        """Return a token for *renewal*: an adopted one, or the answer to one request.

        :raises LookAgain: if another process is asking.
        :raises TokenAcquisitionError: if there is none, also if another process was told so.
        :raises Exception: what the provider raises.
        """
        name, key = renewal.token_name, self._fleet.key_of(renewal.provider, renewal.token_name)
        try:
            for _ in range(MOST_LOOKS):
                view = self._fleet.read(name, key)
                found = self._found(renewal, key, view)
                if found is not None:
                    return found
                seen, claimed_at = view, self._clock.monotonic()
                claim, view = self._claim(renewal, key, seen)
                if claim.granted and self._is_young(claimed_at):
                    if claim.taken_from:
                        self._report_takeover(renewal, claim, seen.record.claim_age_seconds)
                    return self._requested(renewal, key, claim, view, claimed_at)
                if not claim.granted and view.record.is_claimed:
                    break
        except StoreUnavailableError as error:
            return self._without_store(renewal, error)
        raise self._look_again(renewal)

    # ---- look

    def _found(self, renewal: Renewal, key: str, view: View) -> CachedToken | None:
        """Return the token in *view* if it will do; raise if the store says to make no request."""
        mine = renewal.replaces
        known = 0 if mine is None else mine.generation
        if view.generation > known or self._was_renumbered(view, mine):
            adopted = self._adoptable(renewal, view)
            if adopted is not None:
                self._fleet.note_granted(renewal.token_name)
                return adopted
        elif mine is not None and view.generation < known:
            self._restore(renewal, key, view, mine)
        failure = view.failure
        if failure is not None and self._stands(renewal, view):
            age = view.failure_age_seconds
            error = failure.as_error(renewal.provider.provider_name, age)
            error.stands_seconds = failure.stands_seconds - age
            raise error
        if view.unreadable is not None and not renewal.provider.repeatable:
            raise TokenAcquisitionError(
                f"provider {renewal.provider.provider_name!r}: its record in the store can't be "
                f"read: {view.unreadable}. It may hold the only refresh token, so it is not "
                "replaced. Restore the key, or delete the record with tokenkeeper store purge.",
                provider_name=renewal.provider.provider_name,
                transient=False,
            )
        return None

    def _was_renumbered(self, view: View, mine: CachedToken | None) -> bool:
        """Return whether *view* has a later token of the same number.

        That happens where the store came back older, and the fleet went on from there.
        """
        return (
            mine is not None
            and view.stored is not None
            and view.generation == mine.generation
            and view.stored.token.access_token != mine.access_token
            and view.requested_at > mine.requested_at
        )

    def _adoptable(self, renewal: Renewal, view: View) -> CachedToken | None:
        """Return the token of *view* if it meets the need of *renewal*."""
        now = self._clock.monotonic()
        requested_at = view.requested_at
        if requested_at < self._fleet.cleared_at(renewal.token_name):
            return None
        is_new = requested_at > renewal.began_at
        if renewal.is_forced and not is_new:
            return None
        sent = renewal.number if is_new else 0
        adopted = self._fleet.adopted(view, renewal.provider, renewal.replaces, sent=sent)
        if adopted is None or now >= adopted.dead_at:
            return None
        if renewal.after_rejection and self._is_rejected(
            renewal.token_name, adopted.access_token
        ):
            return None
        return adopted

    def _restore(self, renewal: Renewal, key: str, view: View, mine: CachedToken) -> None:
        """Store *mine* again, because the store came back empty or older.

        :raises LookAgain: if the request works once, and another process may have a newer token.
        """
        provider, now = renewal.provider, self._clock.monotonic()
        if view.unreadable is not None and not provider.repeatable:
            return
        if now < mine.dead_at or not provider.repeatable:
            keep = not provider.repeatable
            name = renewal.token_name
            self._fleet.publish(name, key, mine, replaces=view.generation, keep=keep)
        if provider.repeatable:
            return
        if renewal.waits_until is None:
            whole = mine.ends_at - mine.requested_at
            renewal.waits_until = now + min(ROLLBACK_SECONDS, max(0.0, whole))
        if now < renewal.waits_until:
            raise LookAgain(LONGEST_POLL_SECONDS)

    def _stands(self, renewal: Renewal, view: View) -> bool:
        """Return whether the failure in *view* spares *renewal* a request."""
        failure, age = view.failure, view.failure_age_seconds
        if failure is None or age >= failure.stands_seconds:
            return False
        if failure.reported_by == self._fleet.place and failure.transient and failure.failures == 1:
            return False  # the retry policy decides when this process asks again
        if failure.stands_seconds >= FOREVER_SECONDS:
            return True
        ignores_older = renewal.is_forced or renewal.is_reconsidered
        return not (ignores_older and view.read_at - age < renewal.began_at)

    # ---- claim

    def _claim(self, renewal: Renewal, key: str, view: View) -> tuple[Claim, View]:
        name, provider = renewal.token_name, renewal.provider
        kind = "request a token" if provider.repeatable else "spend the refresh token"
        return self._fleet.claim(
            name,
            key,
            generation=view.generation,
            older_than_seconds=self._patience(renewal),
            intent=f"{self._fleet.place} is about to {kind}",
        )

    def _patience(self, renewal: Renewal) -> float:
        """Return how old another owner's claim must be to be taken over."""
        now, mine = self._clock.monotonic(), renewal.replaces
        provider = renewal.provider
        has_token = mine is not None and now < mine.dead_at
        if provider.repeatable and not has_token and renewal.is_wanted_at(now):
            return PATIENCE_SECONDS
        return provider.longest_request_seconds + PATIENCE_SECONDS

    def _look_again(self, renewal: Renewal) -> LookAgain:
        wait = min(LONGEST_POLL_SECONDS, SHORTEST_POLL_SECONDS * POLL_GROWTH**renewal.looks)
        renewal.looks += 1
        return LookAgain(wait * (0.75 + self._jitter() / 2))

    def _is_young(self, claimed_at: float) -> bool:
        """Return whether a claim is young enough for a request, right before it is sent.

        A process that was stopped meanwhile, or a machine that slept, must not send it: by now
        another process may have.
        """
        return self._clock.monotonic() - claimed_at < LAST_LOOK_SECONDS

    # ---- ask, publish or fail

    def _requested(
        self, renewal: Renewal, key: str, claim: Claim, view: View, claimed_at: float
    ) -> CachedToken:
        """Make the request, with the claim, and share what came of it."""
        name, fleet = renewal.token_name, self._fleet
        try:
            replaces = self._latest(renewal, view)
            with claimed(partial(self._is_young, claimed_at)):
                token = self._ask(renewal, replaces)
        except BaseException as error:
            failure = self._shared(renewal, claim, view, error)
            fleet.fail(name, key, claim.record.fence, failure)
            if isinstance(error, TokenAcquisitionError) and failure is not None:
                explained = self._explained(renewal, claim, error)
                if explained is not error:
                    raise explained from error
            raise
        return self._published(renewal, key, view, token)

    def _latest(self, renewal: Renewal, view: View) -> CachedToken | None:
        """Return the token to replace: the latest one, whose refresh token is the only good one."""
        mine = renewal.replaces
        stored = view.stored
        if stored is None or stored.token.refresh_token is None:
            return mine
        if mine is not None and mine.generation > view.generation:
            return mine
        return self._fleet.adopted(view, renewal.provider, mine, sent=0)

    def _published(
        self, renewal: Renewal, key: str, view: View, token: CachedToken
    ) -> CachedToken:
        """Store *token*, which was just granted, and return what is to be served."""
        name, provider, fleet = renewal.token_name, renewal.provider, self._fleet
        mine = renewal.replaces
        known = 0 if mine is None else mine.generation
        token = token.published(max(view.generation, known) + 1)
        keep = not provider.repeatable
        fleet.note_granted(name)
        try:
            if fleet.publish(name, key, token, replaces=view.generation, keep=keep):
                if view.unreadable is not None:
                    now = utc(self._clock)
                    self._report(
                        RecordReplaced(
                            provider_of(name), now, reason=view.unreadable, token_name=name
                        )
                    )
                return token
            view = fleet.read(name, key)
        except StoreUnavailableError:
            if keep:
                self._publish_later(name, key, token, view.generation)
            return token
        # Another process took over the claim, or the store is an older replica. What it has counts.
        other = self._adoptable(renewal, view)
        return token if other is None else other

    def _publish_later(self, name: str, key: str, token: CachedToken, replaces: int) -> None:
        """Store *token* as soon as the store can be used: it holds the only good refresh token."""
        self._fleet.note_unpublished(key, name, token, replaces)
        self._in_background(partial(self._publish_until_stored, key))

    def _publish_until_stored(self, key: str) -> None:
        give_up_at = self._clock.monotonic() + LONGEST_PUBLISHING_SECONDS
        while not self._fleet.publish_unpublished(key):
            closed = self._clock.wait(self._closing(), LONGEST_POLL_SECONDS)
            if closed or self._clock.monotonic() >= give_up_at:
                return

    def _shared(
        self, renewal: Renewal, claim: Claim, view: View, error: BaseException
    ) -> StoredFailure | None:
        """Return what other processes need to know of *error*; ``None`` if nothing."""
        if not isinstance(error, Exception) or is_interruption(error):
            return None  # the host stopped this thread, which says nothing about the token
        if isinstance(error, LookAgain):
            return None  # no request was made
        known = as_oauth2_error(error, renewal.provider.provider_name)
        if not isinstance(known, TokenAcquisitionError) or is_interruption(known.__cause__):
            return None
        failures = 1 + (0 if view.failure is None else view.failure.failures)
        return StoredFailure.of(
            self._explained(renewal, claim, known),
            token_name=renewal.token_name,
            stands_seconds=self._stands_seconds(renewal, known, failures),
            failures=failures,
            reported_by=self._fleet.place,
        )

    def _stands_seconds(
        self, renewal: Renewal, error: TokenAcquisitionError, failures: int
    ) -> float:
        policy = renewal.provider.retry or self._retry
        asked = policy.retry_after_seconds(error)
        if is_transient(error):
            growing = policy.initial_wait_seconds * 2.0 ** min(failures - 1, 30)
            return max(asked, min(growing, LONGEST_PAUSE_SECONDS))
        if not renewal.provider.repeatable and error.error == "invalid_grant":
            return FOREVER_SECONDS  # until somebody signs in
        return max(asked, self._cooldown_seconds)

    def _explained(
        self, renewal: Renewal, claim: Claim, error: TokenAcquisitionError
    ) -> TokenAcquisitionError:
        """Return *error*, and if a refresh token may have been lost, how."""
        if renewal.provider.repeatable or error.error != "invalid_grant":
            return error
        known = own_copy(error)
        why = "the server no longer accepts the refresh token, so a new sign-in is needed"
        if claim.taken_from:
            why += (
                f"; {claim.taken_intent.partition(' ')[0] or 'another process'} was about to spend "
                "it and never stored the next one, as after a kill in mid-flight (detached: true "
                "prevents that)"
            )
        known.args = (f"{error}: {why}",)
        return known

    def _report_takeover(self, renewal: Renewal, claim: Claim, age_seconds: float) -> None:
        self._report(
            ClaimTakenOver(
                renewal.provider.provider_name,
                utc(self._clock),
                claim_age_seconds=age_seconds,
                intent=claim.taken_intent,
                token_name=renewal.token_name,
            )
        )

    # ---- without the store

    def _without_store(self, renewal: Renewal, error: StoreUnavailableError) -> CachedToken:
        """Return a token that was requested alone, where that is safe and cannot wait.

        :raises LookAgain: if the current token is good for long enough to wait for the store.
        :raises TokenAcquisitionError: if the request must not be made without a claim.
        """
        settings, provider, mine = self._fleet.settings, renewal.provider, renewal.replaces
        now = self._clock.monotonic()
        waits = not provider.repeatable or settings.when_unavailable == "wait"
        if mine is not None and now < mine.dead_at and not renewal.is_forced:
            alone_at = mine.stale_at + ALONE_AFTER * (mine.dead_at - mine.stale_at)
            if waits:
                alone_at = math.inf
            if now < alone_at:
                again = max(self._fleet.breaker.retry_in_seconds, SHORTEST_POLL_SECONDS)
                # Spread, so that a fleet that waited for a dead store asks one by one.
                spread = (0.75 + self._jitter() / 2) * again
                raise LookAgain(min(spread, max(alone_at - now, SHORTEST_POLL_SECONDS)))
        if waits:
            raise TokenAcquisitionError(
                f"provider {provider.provider_name!r}: no token is requested without the store. "
                f"{error}",
                provider_name=provider.provider_name,
                transient=True,
            ) from error
        with without_claim():
            token = self._ask(renewal, mine)
        return token if mine is None else token.published(mine.generation + 1)
