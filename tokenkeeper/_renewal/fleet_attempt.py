"""One attempt at a token that a fleet shares: look, claim, ask, then publish or fail.

.. code-block:: text

    look     a newer token in the store?                 adopt it, and make no request
             the store older than what is here?          restore it from memory
             a failure that still counts?                raise it, and make no request
    claim    another process is asking?                  look again soon, without a lock
    ask      is the claim still young?                   or else look again
             the provider's one request; nothing is locked meanwhile
    publish  is the generation still the one claimed?    or else adopt what is there
    fail     share why there is no token, and release the claim

Nothing here is on the read path, and only a process that holds the claim sends a request. What
happens if the store can't be used is in :meth:`FleetAttempts._without_store`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tokenkeeper._renewal.adoption import Adoption, known_generation
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.fleet_request import FleetRequests
from tokenkeeper._renewal.held import Held
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.shared_failure import stands_for_seconds
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import ClaimTakenOver, TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.oauth.claims import LookAgain, without_claim
from tokenkeeper.stores.base import Claim, Record

__all__ = ["FleetAttempts"]

TAKEOVER_SECONDS = 5.0
"""A claim is taken over this long after the longest request that its owner may be making. Callers
without a valid token take it over after this time alone, if the request may be repeated."""

SHORTEST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.25
POLL_GROWTH = 0.5
"""How often the store is looked at while another process asks the server: each wait is this
fraction of the time for which that process has asked already."""

ALONE_AFTER = 0.6
"""How much of the buffer passes before a valid token is renewed without the store."""

ROLLBACK_SECONDS = 10.0
"""After the store lost records, a request that works once waits this long at most: another process
may have a newer refresh token, and restore it."""

MOST_LOOKS = 5
"""How often one attempt looks, claims and finds that another process was faster."""


class _Restored(NamedTuple):
    """A token that was restored, while other processes may have a newer one.

    :ivar waits_until: until when no request is made, on the keeper's monotonic clock.
    :ivar claimed: the record with the claim that is held meanwhile.
    """

    waits_until: float
    claimed: Record


class FleetAttempts:
    """Makes attempts at tokens of a fleet. Thread-safe; blocks.

    :param ask: makes the provider's one request, in place of the given token.
    :param report: delivers an event; called without a lock.
    :param cooldown_seconds: how long callers get a final refusal without another look.
    """

    def __init__(
        self,
        fleet: Fleet,
        adoption: Adoption,
        requests: FleetRequests,
        *,
        ask: Callable[[Renewal, CachedToken | None], CachedToken],
        report: Callable[[TokenEvent], None],
        cooldown_seconds: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._adoption = adoption
        self._requests = requests
        self._ask = ask
        self._report = report
        self._cooldown_seconds = cooldown_seconds
        self._clock = clock
        self._jitter = jitter
        self._restored: dict[str, _Restored] = {}  # by the token's name

    def attempt(self, renewal: Renewal) -> CachedToken:
        """Return a token for *renewal*: one of the store, or the answer to one request.

        :raises LookAgain: if another process is asking.
        :raises TokenAcquisitionError: if there is none, perhaps as another process found out.
        :raises Exception: what the provider raises.
        """
        guard = self._fleet.guard
        waited = guard.seconds_here
        try:
            return self._attempt(renewal)
        finally:
            renewal.store_seconds += guard.seconds_here - waited

    def _attempt(self, renewal: Renewal) -> CachedToken:
        key = self._fleet.key_of(renewal.provider, renewal.token_name)
        try:
            for _ in range(MOST_LOOKS):
                view = self._fleet.read(renewal.token_name, key)
                found = self._found(renewal, key, view)
                if found is not None:
                    return found
                held = self._claimed(renewal, key, view)
                if held is not None:
                    return self._requests.request(renewal, held)
        except StoreUnavailableError as error:
            return self._without_store(renewal, error)
        raise self._look_again(0.0)

    # ---- look

    def _found(self, renewal: Renewal, key: str, view: View) -> CachedToken | None:
        """Return the token in *view* if it will do; raise if the store says to make no request."""
        name = renewal.token_name
        if self._adoption.is_newer(renewal, view):
            adopted = self._adoption.token(renewal, view)
            if adopted is not None:
                self._fleet.note_granted(name, adopted.requested_at)
                self._stop_waiting(name, key)
                return adopted
        elif view.generation < known_generation(renewal.replaces):
            self._restore(renewal, key, view)
        restored = self._restored.get(name)
        if restored is not None and self._clock.monotonic() < restored.waits_until:
            raise LookAgain(LONGEST_POLL_SECONDS)
        self._restored.pop(name, None)
        error = self._shared_error(renewal, view)
        if error is not None:
            raise error
        if view.unreadable is not None and not renewal.provider.repeatable:
            raise _unreadable(renewal, view.unreadable)
        return None

    def _shared_error(self, renewal: Renewal, view: View) -> TokenAcquisitionError | None:
        """Return the error of another process that spares *renewal* a request, if there is one."""
        stands = stands_for_seconds(view, renewal, self._fleet.place)
        if view.failure is None or not stands:
            return None
        name, age = renewal.provider.provider_name, view.failure_age_seconds
        error = view.failure.as_error(name, age)
        error.stands_seconds = min(stands, self._cooldown_seconds)
        return error

    def _restore(self, renewal: Renewal, key: str, view: View) -> None:
        """Store the token that is here again, because the store came back empty or older."""
        mine, name = renewal.replaces, renewal.token_name
        if not renewal.provider.repeatable:
            self._restore_one_time(renewal, key, view)
        elif (
            mine is not None
            and self._clock.monotonic() < mine.renew_at
            and self._fleet.publish(name, key, mine, replaces=view.generation, keep=False)
        ):
            self._requests.report_replacement(name, view)

    def _restore_one_time(self, renewal: Renewal, key: str, view: View) -> None:
        """Do the same for a request that works once, and keep all processes from making it.

        Another process may have a newer refresh token, and restore that. Until then, the claim is
        held here. One that came back with the store is of the past, however young it looks.
        """
        mine, name = renewal.replaces, renewal.token_name
        if mine is None or view.unreadable is not None:
            return
        claim, _ = self._fleet.claim(
            name,
            key,
            generation=view.generation,
            older_than_seconds=0.0,
            intent=f"{self._fleet.place} waits for a newer refresh token, as the store lost it",
        )
        if not claim.granted:
            raise LookAgain(SHORTEST_POLL_SECONDS)
        replaces = view.generation
        self._fleet.publish(name, key, mine, replaces=replaces, keep=True, keeps_claim=True)
        whole_life = max(0.0, mine.ends_at - mine.requested_at)
        waits_until = self._clock.monotonic() + min(ROLLBACK_SECONDS, whole_life)
        self._restored[name] = _Restored(waits_until, claim.record)

    def _stop_waiting(self, name: str, key: str) -> None:
        """Release the claim of a restored token, because a newer one was restored."""
        restored = self._restored.pop(name, None)
        if restored is not None:
            self._fleet.fail(name, key, restored.claimed, None)

    # ---- claim

    def _claimed(self, renewal: Renewal, key: str, view: View) -> Held | None:
        """Return the claim; ``None`` if the record has changed since *view*, or it took too long.

        :raises LookAgain: if another process holds it.
        :raises TokenAcquisitionError: if another process failed meanwhile.
        """
        kind = "request a token" if renewal.provider.repeatable else "use the refresh token"
        began = self._clock.monotonic()
        claim, claimed = self._fleet.claim(
            renewal.token_name,
            key,
            generation=view.generation,
            older_than_seconds=self._takeover_seconds(renewal),
            intent=f"{self._fleet.place} is about to {kind}",
        )
        if not claim.granted:
            if claimed.record.is_claimed:
                raise self._look_again(claimed.record.claim_age_seconds)
            return None
        if claim.taken_from:
            self._report_takeover(renewal, claim, view.record.claim_age_seconds)
        held = Held(key, claim, claimed, began)
        error = self._shared_error(renewal, claimed)
        if error is not None:  # another process failed since the look
            self._requests.release(renewal, held)
            raise error
        return held

    def _takeover_seconds(self, renewal: Renewal) -> float:
        """Return how old another owner's claim must be to be taken over."""
        now, mine, provider = self._clock.monotonic(), renewal.replaces, renewal.provider
        has_token = mine is not None and now < mine.dead_at
        if provider.repeatable and not has_token and renewal.is_wanted_at(now):
            return TAKEOVER_SECONDS
        return provider.longest_request_seconds + TAKEOVER_SECONDS

    def _look_again(self, claim_age_seconds: float) -> LookAgain:
        wait = max(SHORTEST_POLL_SECONDS, POLL_GROWTH * claim_age_seconds)
        return LookAgain(min(LONGEST_POLL_SECONDS, wait) * (0.75 + self._jitter() / 2))

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
        """Return a token that was requested without a claim, where that is safe and urgent.

        :raises LookAgain: if the current token is valid for long enough to wait for the store.
        :raises TokenAcquisitionError: if the request must not be made without a claim.
        """
        settings, provider, mine = self._fleet.settings, renewal.provider, renewal.replaces
        waits = not provider.repeatable or settings.when_unavailable == "wait"
        now = self._clock.monotonic()
        if mine is not None and now < mine.dead_at and not renewal.is_forced:
            alone_at = mine.stale_at + ALONE_AFTER * (mine.dead_at - mine.stale_at)
            if waits or now < alone_at:
                wait = self._fleet.guard.retry_in_seconds
                if not waits:
                    wait = min(wait, alone_at - now)
                wait = max(wait, SHORTEST_POLL_SECONDS)
                # Spread, so that a fleet that waits for its store does not ask all at once.
                raise LookAgain(wait * (0.75 + self._jitter() / 2))
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


def _unreadable(renewal: Renewal, reason: str) -> TokenAcquisitionError:
    name = renewal.provider.provider_name
    return TokenAcquisitionError(
        f"provider {name!r}: its record in the store can't be read: {reason}. It may hold the only "
        "refresh token, so it is not replaced. Restore the key, or delete the record with "
        "'tokenkeeper store purge'.",
        provider_name=name,
        transient=False,
    )
