"""Which token of the store a renewal may take over, in place of a request of its own."""

from __future__ import annotations

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.fleet import Fleet
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.state import KeeperState
from tokenkeeper._renewal.view import View
from tokenkeeper.clock import Clock
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["Adoption", "latest_token"]

SAME_EXPIRY_SECONDS = 1.0
"""Two moments that are closer are the same: ages in a store are measured a moment later."""


class Adoption:
    """Decides what a renewal takes over. Thread-safe."""

    def __init__(self, fleet: Fleet, state: KeeperState, clock: Clock) -> None:
        self._fleet = fleet
        self._state = state
        self._clock = clock

    def is_newer(self, mine: CachedToken | None, view: View) -> bool:
        """Return whether *view* has a newer token than *mine*.

        One with the same number or a lower one is newer if the store came back older or empty, and
        the fleet went on from there.
        """
        if view.generation > (0 if mine is None else mine.generation):
            return True
        if mine is None or view.stored is None:
            return False
        is_another = view.stored.token.access_token != mine.access_token
        return is_another and view.requested_at > mine.requested_at

    def token(self, renewal: Renewal, view: View) -> CachedToken | None:
        """Return the token of *view* if it meets the need of *renewal*; ``None`` otherwise."""
        name, requested_at = renewal.token_name, view.requested_at
        if requested_at < self._fleet.cleared_at(name):
            return None
        is_new = requested_at > renewal.began_at
        if renewal.is_forced and not is_new:
            return None
        # Callers that asked for a new token before this renewal began are served by a token that
        # was requested after it began, and by no other one.
        sent = renewal.number if is_new else 0
        found = self._fleet.adopted(view, renewal.provider, renewal.replaces, sent=sent)
        if found is None or self._clock.monotonic() >= found.dead_at:
            return None
        if renewal.after_rejection and self._state.was_rejected(name, found.access_token):
            return None
        if _outlives(renewal.replaces, found, self._clock.monotonic()):
            return None
        if not renewal.provider.repeatable and _is_same(renewal.replaces, found):
            return None  # only its refresh token is new
        return found

    def latest(self, renewal: Renewal, slot: Slot, view: View) -> CachedToken | None:
        """Return the token that a request replaces, dead or alive.

        It is the stored one if that has a refresh token, which may be the only good one.
        """
        return latest_token(self._fleet, renewal.provider, slot, view)


def latest_token(
    fleet: Fleet, provider: BaseOAuth2Provider, slot: Slot, view: View
) -> CachedToken | None:
    """Return the token of a record that has the newest refresh token, if there is one at all."""
    mine, stored = slot.mine, view.stored
    if stored is None or stored.token.refresh_token is None:
        return mine
    if slot.known_generation > view.generation:
        return mine
    return fleet.adopted(view, provider, mine, sent=0)


def _outlives(mine: CachedToken | None, found: CachedToken, now: float) -> bool:
    """Return whether *mine*, which was requested without the store, is worth more than *found*."""
    if mine is None or now >= mine.dead_at:
        return False
    return mine.requested_at > found.requested_at and mine.dead_at >= found.dead_at


def _is_same(mine: CachedToken | None, found: CachedToken) -> bool:
    """Return whether *found* is *mine* again, with the same expiry."""
    if mine is None or found.access_token != mine.access_token:
        return False
    return found.ends_at < mine.ends_at + SAME_EXPIRY_SECONDS
