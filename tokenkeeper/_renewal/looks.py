"""Looks at the record of a token in the store, and claims it for a request."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from tokenkeeper._renewal.adoption import Adoption
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.held import Held
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.shared_failure import is_lost, stands_for_seconds
from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import ClaimTakenOver, RecordReplaced, TokenEvent
from tokenkeeper.exceptions import TokenAcquisitionError, authorization_required
from tokenkeeper.names import provider_of
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.stores.base import Claim, Record

__all__ = ["SHORTEST_POLL_SECONDS", "Looks"]

TAKEOVER_SECONDS = 5.0
"""A claim is taken over this long after the longest request that its owner may be making. Callers
without a valid token take it over after this time alone, if the request may be repeated."""

SHORTEST_POLL_SECONDS = 0.02
LONGEST_POLL_SECONDS = 0.25
POLL_GROWTH = 0.5
"""How often the store is looked at while another process asks the server: each wait is this
fraction of the time for which that process has asked already."""

ROLLBACK_SECONDS = 10.0
"""After the store lost records, a request that works once waits this long: another process may have
a newer refresh token, and restore it. It may be leaving the store alone, which takes up to half of
this time, so the lives of tokens do not shorten it. The same after this process could not use the
store: what it would have learned meanwhile may be what the store lost."""


class _Restored(NamedTuple):
    """A token that was restored, while other processes may have a newer one.

    :ivar waits_until: until when no request is made, on the keeper's monotonic clock.
    :ivar claimed: the record with the claim that is held meanwhile.
    """

    waits_until: float
    claimed: Record


class Looks:
    """Looks at records, and claims them. Thread-safe; blocks for operations of the store alone.

    :param report: delivers an event; called without a lock.
    :param cooldown_seconds: how long callers get a final refusal without another look.
    """

    def __init__(
        self,
        fleet: Fleet,
        adoption: Adoption,
        *,
        report: Callable[[TokenEvent], None],
        cooldown_seconds: float,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._adoption = adoption
        self._report = report
        self._cooldown_seconds = cooldown_seconds
        self._clock = clock
        self._jitter = jitter
        self._restored: dict[str, _Restored] = {}  # by the record's key
        self._ageless: dict[str, tuple[int, float]] = {}  # fence, and when it was first seen

    # ---- look

    def read(self, slot: Slot) -> View:
        """Return the record, opened.

        :raises StoreUnavailableError: if the store can't be used.
        """
        return self._fleet.read(slot.name, slot.key)

    def adopted(self, renewal: Renewal, slot: Slot, view: View) -> CachedToken | None:
        """Return the token in *view* if it will do for *renewal*; ``None`` otherwise."""
        if not self._adoption.is_newer(renewal.replaces, view):
            return None
        adopted = self._adoption.token(renewal, view)
        if adopted is not None:
            self._fleet.note_granted(slot.name, adopted.requested_at)
            self.stop_waiting(slot)
        return adopted

    def check(self, renewal: Renewal, slot: Slot, view: View) -> None:
        """Raise if the store says to make no request. Restore what it has lost.

        :raises LookAgain: if another process may restore a newer refresh token.
        :raises TokenAcquisitionError: if a request failed, or the record can't be read.
        """
        is_newer = self._adoption.is_newer(slot.mine, view)
        if view.generation < slot.known_generation and not is_newer:
            self._restore(renewal, slot, view)
        if slot.is_of_grant and self._clock.monotonic() < self._waits_until(slot):
            raise LookAgain(LONGEST_POLL_SECONDS)
        self._restored.pop(slot.key, None)
        error = self._shared_error(renewal, view)
        if error is not None:
            raise error
        if view.unreadable is not None and not renewal.provider.repeatable:
            raise _unreadable(renewal, view.unreadable)

    def _shared_error(self, renewal: Renewal, view: View) -> TokenAcquisitionError | None:
        """Return the error of another process that spares *renewal* a request, if there is one."""
        stands = stands_for_seconds(view, renewal, self._fleet.place)
        if view.failure is None or not stands:
            return None
        name, age = renewal.provider.provider_name, view.failure_age_seconds
        error = view.failure.as_error(name, age)
        if is_lost(error, renewal):
            return authorization_required(error, "")
        error.stands_seconds = min(stands, self._cooldown_seconds)
        return error

    def _restore(self, renewal: Renewal, slot: Slot, view: View) -> None:
        """Store the token that is here again, because the store came back empty or older."""
        name, key, mine, _ = slot
        if slot.is_of_grant:
            self._restore_one_time(slot, view)
        elif (
            mine is not None
            and self._clock.monotonic() < mine.renew_at
            and self._fleet.publish(name, key, mine, replaces=view.generation, keep=False)
        ):
            self.report_replacement(name, view)

    def _restore_one_time(self, slot: Slot, view: View) -> None:
        """Do the same for a request that works once, and keep all processes from making it.

        Another process may have a newer refresh token, and restore that. Until then, the claim is
        held here. One that came back with the store is of the past, however young it looks.
        """
        name, key, mine, _ = slot
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
        waits_until = self._clock.monotonic() + ROLLBACK_SECONDS
        self._restored[key] = _Restored(waits_until, claim.record)

    def _waits_until(self, slot: Slot) -> float:
        """Return until when another process may restore a newer refresh token."""
        restored = self._restored.get(slot.key)
        since_outage = self._fleet.guard.recovered_at + ROLLBACK_SECONDS
        return since_outage if restored is None else max(restored.waits_until, since_outage)

    def stop_waiting(self, slot: Slot) -> None:
        """Release the claim of a restored token, because a newer one was restored."""
        restored = self._restored.pop(slot.key, None)
        if restored is not None:
            self._fleet.fail(slot.name, slot.key, restored.claimed, None)

    # ---- claim

    def claimed(self, renewal: Renewal, slot: Slot, view: View) -> Held | None:
        """Return the claim; ``None`` if the record has changed since *view*, or it took too long.

        :raises LookAgain: if another process holds it.
        :raises TokenAcquisitionError: if another process failed meanwhile.
        """
        self._check_age(renewal, slot, view.record)
        kind = "request a token" if renewal.provider.repeatable else "use the refresh token"
        began = self._clock.monotonic()
        claim, claimed = self._fleet.claim(
            slot.name,
            slot.key,
            generation=view.generation,
            older_than_seconds=self._takeover_seconds(renewal),
            intent=f"{self._fleet.place} is about to {kind}",
        )
        if not claim.granted:
            if claimed.record.is_claimed:
                raise self.look_again(claimed.record.claim_age_seconds)
            return None
        if claim.taken_from:
            self._report_takeover(renewal, claim, view.record.claim_age_seconds)
        held = Held(slot, claim, claimed, began)
        error = self._shared_error(renewal, claimed)
        if error is not None:  # another process failed since the look
            self.release(held)
            raise error
        return held

    def _check_age(self, renewal: Renewal, slot: Slot, record: Record) -> None:
        """Raise :class:`LookAgain` while a claim may be young, though the store says it is not.

        After the clock of a store was set back, the ages of claims are infinite there. A refresh
        token that works once is then left to its user for as long as on any other day.
        """
        is_known = record.claim_age_seconds < math.inf or record.owner in ("", self._fleet.owner)
        if renewal.provider.repeatable or is_known:
            self._ageless.pop(slot.key, None)
            return
        now = self._clock.monotonic()
        fence, since = self._ageless.get(slot.key, (-1, now))
        if fence != record.fence:
            self._ageless[slot.key], since = (record.fence, now), now
        if now - since < self._takeover_seconds(renewal):
            raise self.look_again(now - since)

    def _takeover_seconds(self, renewal: Renewal) -> float:
        """Return how old another owner's claim must be to be taken over."""
        now, mine, provider = self._clock.monotonic(), renewal.replaces, renewal.provider
        has_token = mine is not None and now < mine.dead_at
        if provider.repeatable and not has_token and renewal.is_wanted_at(now):
            return TAKEOVER_SECONDS
        return provider.longest_request_seconds + TAKEOVER_SECONDS

    def look_again(self, claim_age_seconds: float) -> LookAgain:
        """Return the exception for a claim of that age that another process holds."""
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

    def release(self, held: Held) -> None:
        """Release the claim without a word about the token."""
        self._fleet.fail(held.slot.name, held.slot.key, held.claim.record, None)

    def report_replacement(self, name: str, view: View) -> None:
        """Report that the record *view* was replaced, if it could not be read."""
        if view.unreadable is not None:
            now, reason = utc(self._clock), view.unreadable
            self._report(RecordReplaced(provider_of(name), now, reason=reason, token_name=name))


def _unreadable(renewal: Renewal, reason: str) -> TokenAcquisitionError:
    name = renewal.provider.provider_name
    return TokenAcquisitionError(
        f"provider {name!r}: its record in the store can't be read: {reason}. It may hold the only "
        "refresh token, so it is not replaced. Restore the key, or delete the record with "
        "'tokenkeeper store purge'.",
        provider_name=name,
        transient=False,
    )
