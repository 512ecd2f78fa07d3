"""Puts what a sign-in brought where the fleet finds it, before anything is done with it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.joining import Membership
from tokenkeeper._renewal.looks import SHORTEST_POLL_SECONDS, TAKEOVER_SECONDS
from tokenkeeper._renewal.slot import Slot
from tokenkeeper.clock import Clock
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.oauth.claims import LookAgain
from tokenkeeper.providers.base import BaseOAuth2Provider

__all__ = ["store_new_grant"]

WAIT_SECONDS = 10.0
"""How long a request with the refresh token before is waited for. What it brings is of no use then,
but its end leaves nothing to sort out."""

ANY_GENERATION = 2**53
"""Larger than that of any record: what is stored then replaces whatever is there."""


def store_new_grant(
    membership: Membership,
    provider: BaseOAuth2Provider,
    token: CachedToken,
    *,
    clock: Clock,
    wait: Callable[[float], None],
) -> CachedToken:
    """Store *token* as the first one of a grant, and return it as it was stored. Blocks.

    It replaces what was stored before, a shared failure included. If the store fails meanwhile, it
    is stored as soon as that is possible.

    :param wait: waits that many seconds.
    """
    fleet, grants = membership.fleet, membership.grants
    name = provider.grant_name
    key = fleet.key_of(provider, name)
    known = grants.slot(Slot(name, key, None)).known_generation
    patient_until = clock.monotonic() + WAIT_SECONDS
    grants.drop(key)
    fleet.note_granted(name, token.requested_at)
    while True:
        is_patient = clock.monotonic() < patient_until
        try:
            with ExitStack() as stack:
                if is_patient:
                    stack.enter_context(grants.turn(key, provider))
                stored = _stored(membership, provider, key, token, known, is_patient=is_patient)
        except LookAgain as again:
            wait(max(again.after_seconds, SHORTEST_POLL_SECONDS))
            continue
        except StoreUnavailableError:
            stored = token.published(known + 1)
            membership.unpublished.add(key, name, stored, ANY_GENERATION)
        grants.drop(key)
        grants.note(key, stored)
        return stored


def _stored(
    membership: Membership,
    provider: BaseOAuth2Provider,
    key: str,
    token: CachedToken,
    known: int,
    *,
    is_patient: bool,
) -> CachedToken:
    """Claim the record and store *token* there, and return it as it was stored.

    :param is_patient: whether to wait for a process that may be using the refresh token before.
    :raises LookAgain: if the record is claimed, or has changed.
    :raises StoreUnavailableError: if the store can't be used.
    """
    fleet, name = membership.fleet, provider.grant_name
    view = fleet.read(name, key)
    claim, view = fleet.claim(
        name,
        key,
        generation=view.generation,
        older_than_seconds=provider.longest_request_seconds + TAKEOVER_SECONDS if is_patient else 0,
        intent=f"{fleet.place} is about to store the refresh token of a sign-in",
    )
    if not claim.granted:
        raise LookAgain(SHORTEST_POLL_SECONDS)
    token = token.published(max(view.generation, known) + 1)
    fence = claim.record.fence
    stored = fleet.publish_newest(name, key, token, replaces=view.generation, fence=fence)
    if stored is None:  # another process was even faster, with a refresh token from before
        raise LookAgain(0.0)
    membership.unpublished.confirm(key, name, stored)
    return stored
