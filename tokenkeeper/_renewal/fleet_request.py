"""The request of the process that holds the claim, and how its outcome is shared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial

from tokenkeeper._renewal.adoption import Adoption
from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.detached import DetachedRequests, Handover
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.grants import Grants, kept_in_grant
from tokenkeeper._renewal.held import Held
from tokenkeeper._renewal.looks import Looks
from tokenkeeper._renewal.one_time import OneTimeRequests
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.shared_failure import explained, failure_of, is_lost
from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.unpublished import Unpublished
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
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
    :param cooldown_seconds: for how long a final refusal spares the fleet a request.
    """

    def __init__(
        self,
        fleet: Fleet,
        adoption: Adoption,
        looks: Looks,
        grants: Grants,
        unpublished: Unpublished,
        one_time: OneTimeRequests,
        *,
        ask: Callable[[Renewal, CachedToken | None, BaseOAuth2Provider], CachedToken],
        detached: DetachedRequests | None = None,
        retry: RetryPolicy,
        cooldown_seconds: float,
        clock: Clock,
    ) -> None:
        self._fleet = fleet
        self._adoption = adoption
        self._looks = looks
        self._grants = grants
        self._unpublished = unpublished
        self._one_time = one_time
        self._detached = detached
        self._ask = ask
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
                give_up = partial(self._looks.release, held)
                stack.enter_context(self._one_time.under_way(renewal.provider, give_up))
            except TokenAcquisitionError:
                self._looks.release(held)
                raise
            return self._requested(renewal, held)

    def _requested(self, renewal: Renewal, held: Held) -> CachedToken:
        provider = renewal.provider
        if self._detached is not None and not provider.repeatable:
            provider = self._detached.provider(renewal, held)
        try:
            replaces = self._adoption.latest(renewal, held.slot, held.view)
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
            view = self._looks.read(held.slot)
            if view.stored is not None and view.generation > held.view.generation:
                self._looks.release(held)
                raise LookAgain(0.0) from error

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
        self._fleet.fail(held.slot.name, held.slot.key, held.claim.record, failure)

    def _published(self, renewal: Renewal, held: Held, token: CachedToken) -> CachedToken:
        """Store *token*, which was just granted, and return what is to be served."""
        self._fleet.note_granted(renewal.token_name, token.requested_at)
        if held.beside is not None:
            return self._published_beside(renewal, held, token, *held.beside)
        slot, view = held.slot, held.view
        token = token.published(max(view.generation, slot.known_generation) + 1)
        try:
            stored = self._stored(held, token, releases=True)
            if stored is not None:
                self._looks.report_replacement(slot.name, view)
                return stored
            view = self._looks.read(slot)
        except StoreUnavailableError:
            return token
        if view.stored is not None and view.stored.token.access_token == token.access_token:
            return token.published(view.generation)  # a helper process has stored it
        # Another process took over the claim, cleared the token, or the store is an older replica.
        # What the store has counts.
        self._looks.release(held)
        return self._adoption.token(renewal, view) or token

    def _stored(self, held: Held, token: CachedToken, *, releases: bool) -> CachedToken | None:
        """Store *token* in the claimed record, and return it as it was stored.

        :param releases: whether the claim is released with it.
        :returns: ``None`` if the record has changed.
        :raises StoreUnavailableError: if it is not there. A refresh token is stored later.
        """
        (name, key, _, keep), fleet, replaces = held.slot, self._fleet, held.view.generation
        if not keep:
            published = fleet.publish(name, key, token, replaces=replaces, keep=False)
            return token if published else None
        self._grants.note(key, token)
        try:
            # A store that came back older has no newer refresh token than this one.
            stored = fleet.publish_newest(
                name,
                key,
                token,
                replaces=replaces,
                fence=held.claim.record.fence,
                keeps_claim=not releases,
            )
        except StoreUnavailableError:
            self._unpublished.add(key, name, token, replaces)
            raise
        if stored is not None:
            self._grants.note(key, stored)
            self._unpublished.confirm(key, name, stored)
        return stored

    def _published_beside(
        self, renewal: Renewal, held: Held, token: CachedToken, slot: Slot, view: View
    ) -> CachedToken:
        """Store *token* in its own record, *slot*, after its refresh token in that of its grant."""
        before = self._adoption.latest(renewal, held.slot, held.view)
        with suppress(StoreUnavailableError):
            if before is None or before.token.refresh_token != token.token.refresh_token:
                kept = kept_in_grant(token, before)
                number = max(held.view.generation, held.slot.known_generation) + 1
                self._stored(held, kept.published(number), releases=False)
        token = replace(token, token=replace(token.token, refresh_token=None))
        token = token.published(max(view.generation, slot.known_generation) + 1)
        with suppress(StoreUnavailableError):
            self._fleet.publish(slot.name, slot.key, token, replaces=view.generation, keep=False)
        self._looks.release(held)
        return token
