"""The request of the process that holds the claim, and how its outcome is shared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial

from tokenkeeper._renewal.adoption import Adoption, known_generation
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.detached import DetachedRequests, Handover
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.held import Held
from tokenkeeper._renewal.one_time import OneTimeRequests
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.shared_failure import explained, failure_of, is_lost
from tokenkeeper._renewal.unpublished import Unpublished
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock, utc
from tokenkeeper.events import RecordReplaced, TokenEvent
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.names import provider_of
from tokenkeeper.oauth.claims import LookAgain, claimed
from tokenkeeper.providers.base import BaseOAuth2Provider
from tokenkeeper.retry import RetryPolicy

__all__ = ["FleetRequests"]

LAST_LOOK_SECONDS = 2.5
"""With an older claim no request begins. A process that was stopped in between looks again instead,
since another one may have sent the request by now. Slow connections have more time: on the wire, a
claim must be younger than the longest request."""


def _is_younger(seconds: float, claimed_at: float, clock: Clock) -> bool:
    """Return whether a claim of that time is younger than *seconds*.

    The clock counts the sleep of the machine, and the time for which a process is stopped.
    """
    return clock.monotonic() - claimed_at < seconds


class FleetRequests:
    """Makes requests with a claim, and shares what comes of them. Thread-safe; blocks.

    :param one_time: what the end of the process waits for.
    :param ask: makes one request of the given provider, in place of the given token.
    :param detached: has helper processes make requests that work once; ``None`` to make them here.
    :param report: delivers an event; called without a lock.
    :param cooldown_seconds: for how long a final refusal spares the fleet a request.
    """

    def __init__(
        self,
        fleet: Fleet,
        adoption: Adoption,
        unpublished: Unpublished,
        one_time: OneTimeRequests,
        *,
        ask: Callable[[Renewal, CachedToken | None, BaseOAuth2Provider], CachedToken],
        detached: DetachedRequests | None = None,
        report: Callable[[TokenEvent], None],
        retry: RetryPolicy,
        cooldown_seconds: float,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._adoption = adoption
        self._unpublished = unpublished
        self._one_time = one_time
        self._detached = detached
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
        with ExitStack() as stack:
            try:
                give_up = partial(self.release, renewal, held)
                stack.enter_context(self._one_time.under_way(renewal.provider, give_up))
            except TokenAcquisitionError:
                self.release(renewal, held)
                raise
            return self._requested(renewal, held)

    def _requested(self, renewal: Renewal, held: Held) -> CachedToken:
        provider = renewal.provider
        if self._detached is not None and not provider.repeatable:
            provider = self._detached.provider(renewal, held)
        try:
            replaces = self._adoption.latest(renewal, held.view)
            if not _is_younger(LAST_LOOK_SECONDS, held.claimed_at, self._clock):
                raise LookAgain(0.0)
            longest = renewal.provider.longest_request_seconds
            with claimed(partial(_is_younger, longest, held.claimed_at, self._clock)):
                token = self._ask(renewal, replaces, provider)
        except BaseException as error:
            if isinstance(provider, Handover) and provider.is_under_way:
                raise  # the helper process has the claim, and shares what comes of it
            self._failed(error, renewal, held)
            raise
        return self._published(renewal, held, token)

    def _failed(self, error: BaseException, renewal: Renewal, held: Held) -> None:
        """Share *error*, and raise another one in its place if that says more."""
        if renewal.useless is not None and not renewal.provider.repeatable:
            self._published(renewal, held, renewal.useless)
        if isinstance(error, TokenAcquisitionError):
            self._check_loss(error, renewal, held)
            known = explained(error, renewal, held.claim)
            self._share(known, renewal, held)
            if known is not error:
                raise known from error
        else:
            self._share(error, renewal, held)

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
        self._fleet.fail(renewal.token_name, held.key, held.claim.record, None)

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
        self._fleet.fail(renewal.token_name, held.key, held.claim.record, failure)

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
                if keep:
                    self._unpublished.confirm(held.key, name, token)
                return token
            view = fleet.read(name, held.key)
        except StoreUnavailableError:
            if keep:
                self._unpublished.add(held.key, name, token, view.generation)
            return token
        if view.stored is not None and view.stored.token.access_token == token.access_token:
            return token.published(view.generation)  # a helper process has stored it
        # Another process took over the claim, cleared the token, or the store is an older replica.
        # What the store has counts.
        self.release(renewal, held)
        return self._adoption.token(renewal, view) or token

    def report_replacement(self, name: str, view: View) -> None:
        """Report that the record *view* was replaced, if it could not be read."""
        if view.unreadable is not None:
            now, reason = utc(self._clock), view.unreadable
            self._report(RecordReplaced(provider_of(name), now, reason=reason, token_name=name))
