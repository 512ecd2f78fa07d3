"""The request of the process that holds the claim, and how its outcome is shared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from tokenkeeper._renewal.adoption import Adoption, known_generation
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.shared_failure import explained, failure_of, is_lost
from tokenkeeper._renewal.unpublished import Unpublished
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import RecordReplaced, TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.names import provider_of
from tokenkeeper.oauth.claims import LookAgain, claimed, may_send
from tokenkeeper.retry import RetryPolicy
from tokenkeeper.stores.base import Claim

__all__ = ["FleetRequests", "Held"]

LAST_LOOK_SECONDS = 2.5
"""With an older claim nothing is sent. A process that was stopped in between looks again instead,
since another one may have sent the request by now."""


class Held(NamedTuple):
    """A claim that this process holds.

    :ivar key: of the record.
    :ivar view: the record, as it was claimed.
    :ivar claimed_at: when the claim was asked for, on the keeper's monotonic clock.
    """

    key: str
    claim: Claim
    view: View
    claimed_at: float


def _is_young(claimed_at: float, clock: Clock) -> bool:
    """Return whether a request may be sent with a claim of that time.

    The clock counts the sleep of the machine, and the time for which a process is stopped.
    """
    return clock.monotonic() - claimed_at < LAST_LOOK_SECONDS


class FleetRequests:
    """Makes requests with a claim, and shares what comes of them. Thread-safe; blocks.

    :param ask: makes the provider's one request, in place of the given token.
    :param report: delivers an event; called without a lock.
    :param cooldown_seconds: for how long a final refusal spares the fleet a request.
    """

    def __init__(
        self,
        fleet: Fleet,
        adoption: Adoption,
        unpublished: Unpublished,
        *,
        ask: Callable[[Renewal, CachedToken | None], CachedToken],
        report: Callable[[TokenEvent], None],
        retry: RetryPolicy,
        cooldown_seconds: float,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._adoption = adoption
        self._unpublished = unpublished
        self._ask = ask
        self._report = report
        self._retry = retry
        self._cooldown_seconds = cooldown_seconds
        self._clock = clock

    def request(self, renewal: Renewal, held: Held) -> CachedToken:
        """Return the token that is to be served after one request.

        :raises LookAgain: if the claim grew too old before the request was sent.
        :raises Exception: what the provider raises, explained if a refresh token is lost.
        """
        try:
            replaces = self._adoption.latest(renewal, held.view)
            with claimed(partial(_is_young, held.claimed_at, self._clock)):
                if not may_send():
                    raise LookAgain(0.0)
                token = self._ask(renewal, replaces)
        except TokenAcquisitionError as error:
            self._check_loss(error, renewal, held)
            known = explained(error, renewal, held.claim)
            self._share(known, renewal, held)
            if known is error:
                raise
            raise known from error
        except BaseException as error:
            self._share(error, renewal, held)
            raise
        return self._published(renewal, held, token)

    def _check_loss(self, error: TokenAcquisitionError, renewal: Renewal, held: Held) -> None:
        """Raise :class:`LookAgain` if the refresh token was refused because it has a successor.

        The process that had the claim before may have stored it meanwhile.
        """
        if not is_lost(error, renewal):
            return
        with suppress(StoreUnavailableError):
            view = self._fleet.read(renewal.token_name, held.key)
            if view.stored is not None and view.generation > held.view.generation:
                self.release(renewal, held)
                raise LookAgain(0.0) from error

    def release(self, renewal: Renewal, held: Held) -> None:
        """Release the claim without a word about the token."""
        self._fleet.fail(renewal.token_name, held.key, held.claim.record.fence, None)

    def _share(self, error: BaseException, renewal: Renewal, held: Held) -> None:
        """Release the claim, and store *error* if it says something about the token."""
        failure = failure_of(
            error,
            renewal,
            held.view,
            place=self._fleet.place,
            policy=renewal.provider.retry or self._retry,
            cooldown_seconds=self._cooldown_seconds,
        )
        self._fleet.fail(renewal.token_name, held.key, held.claim.record.fence, failure)

    def _published(self, renewal: Renewal, held: Held, token: CachedToken) -> CachedToken:
        """Store *token*, which was just granted, and return what is to be served."""
        name, fleet, view = renewal.token_name, self._fleet, held.view
        keep = not renewal.provider.repeatable
        token = token.published(max(view.generation, known_generation(renewal.replaces)) + 1)
        fleet.note_granted(name, token.requested_at)
        # A store that came back older has no newer refresh token than this one.
        publish = fleet.publish_newest if keep else fleet.publish
        try:
            if publish(name, held.key, token, replaces=view.generation, keep=keep):
                self.report_replacement(name, view)
                return token
            view = fleet.read(name, held.key)
        except StoreUnavailableError:
            if keep:
                self._unpublished.add(held.key, name, token, view.generation)
            return token
        # Another process took over the claim, cleared the token, or the store is an older replica.
        # What the store has counts.
        self.release(renewal, held)
        return self._adoption.token(renewal, view) or token

    def report_replacement(self, name: str, view: View) -> None:
        """Report that the record *view* was replaced, if it could not be read."""
        if view.unreadable is not None:
            now, reason = utc(self._clock), view.unreadable
            self._report(RecordReplaced(provider_of(name), now, reason=reason, token_name=name))
