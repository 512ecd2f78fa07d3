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

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.fleet_request import FleetRequests
from tokenkeeper._renewal.grants import Grants
from tokenkeeper._renewal.looks import SHORTEST_POLL_SECONDS, Looks
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.slot import Slot
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError, TokenAcquisitionError
from tokenkeeper.oauth.claims import LookAgain, without_claim

__all__ = ["FleetAttempts"]

ALONE_AFTER = 0.6
"""How much of the buffer passes before a valid token is renewed without the store."""

MOST_LOOKS = 5
"""How often one attempt looks, claims and finds that another process was faster."""


class FleetAttempts:
    """Makes attempts at tokens of a fleet. Thread-safe; blocks.

    :param grants: what this process knows of grants that work once.
    :param ask: makes the provider's one request, in place of the given token.
    """

    def __init__(
        self,
        fleet: Fleet,
        looks: Looks,
        requests: FleetRequests,
        grants: Grants,
        *,
        ask: Callable[[Renewal, CachedToken | None], CachedToken],
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._fleet = fleet
        self._looks = looks
        self._requests = requests
        self._grants = grants
        self._ask = ask
        self._clock = clock
        self._jitter = jitter

    def attempt(self, renewal: Renewal) -> CachedToken:
        """Return a token for *renewal*: one of the store, or the answer to one request.

        :raises LookAgain: if another process is asking.
        :raises TokenAcquisitionError: if there is none, perhaps as another process found out.
        :raises Exception: what the provider raises.
        """
        guard = self._fleet.guard
        waited = guard.seconds_here
        try:
            if renewal.provider.repeatable:
                return self._attempt(renewal)
            with self._grants.turn(self._key_of_grant(renewal), renewal.provider):
                return self._attempt(renewal)
        except StoreUnavailableError as error:
            return self._without_store(renewal, error)
        finally:
            renewal.store_seconds += guard.seconds_here - waited

    def _key_of_grant(self, renewal: Renewal) -> str:
        return self._fleet.key_of(renewal.provider, renewal.provider.grant_name)

    def _attempt(self, renewal: Renewal) -> CachedToken:
        """Look, claim, and look again if another process was faster."""
        provider, looks = renewal.provider, self._looks
        own_key = self._fleet.key_of(provider, renewal.token_name)
        own = Slot(renewal.token_name, own_key, renewal.replaces)
        shares_grant = not provider.repeatable and provider.grant_name != own.name
        for _ in range(MOST_LOOKS):
            view = looks.read(own)
            found = looks.adopted(renewal, own, view)
            if found is not None:
                return found
            if shares_grant:
                found = self._by_grant(renewal, own)
            else:
                slot = own if provider.repeatable else self._grants.slot(own)
                looks.check(renewal, slot, view)
                held = looks.claimed(renewal, slot, view)
                found = held and self._requests.request(renewal, held)
            if found is not None:
                return found
        raise looks.look_again(0.0)

    def _by_grant(self, renewal: Renewal, own: Slot) -> CachedToken | None:
        """Return a token by the refresh token of its grant, which other tokens use as well.

        ``None`` if another process was faster. Each use replaces that refresh token, so the record
        of the grant is claimed, not that of the token.
        """
        name, looks = renewal.provider.grant_name, self._looks
        grant = self._grants.slot(Slot(name, self._fleet.key_of(renewal.provider, name), None))
        view = looks.read(grant)
        looks.check(renewal, grant, view)
        held = looks.claimed(renewal, grant, view)
        if held is None:
            return None
        now = looks.read(own)
        found = looks.adopted(renewal, own, now)  # another process requested it meanwhile
        if found is not None:
            looks.release(held)
            return found
        return self._requests.request(renewal, held._replace(beside=(own, now)))

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
