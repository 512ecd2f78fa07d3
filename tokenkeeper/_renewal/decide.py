"""Decides what a caller gets, from what it needs, what is cached and what is under way.

Pure: no state, no lock, no clock. ``tests/_renewal/test_decide.py`` has the whole table.
"""

from __future__ import annotations

from enum import Enum

from tokenkeeper._renewal.cached_token import CachedToken
from tokenkeeper._renewal.need import Need

__all__ = ["Action", "decide", "is_usable"]


class Action(Enum):
    """What to do for one caller."""

    SERVE = "serve"
    """Return the cached token."""
    JOIN = "join"
    """Wait for the renewal that is under way."""
    START = "start"
    """Start a renewal."""
    REFUSE = "refuse"
    """Raise the refusal that still stands: a cooldown, or an API that rejects all tokens."""


def is_usable(need: Need, cached: CachedToken | None, now: float, *, rejected: bool) -> bool:
    """Return whether *cached* meets *need* at *now*.

    :param rejected: whether *need* comes from a rejection by an API, and *cached* is among the
        tokens that it rejected.
    """
    return cached is not None and not rejected and need.is_met_by(cached, now)


def decide(
    need: Need,
    cached: CachedToken | None,
    now: float,
    *,
    rejected: bool,
    is_under_way: bool,
    is_refused: bool,
    renews_inline: bool,
) -> Action:
    """Return what to do for a caller with *need*, at *now* on the keeper's monotonic clock.

    The order matters: the validity check comes before any cooldown, and a renewal under way is
    joined even while a cooldown lasts.

    :param rejected: see :func:`is_usable`.
    :param is_under_way: whether a renewal of this token is under way.
    :param is_refused: whether a refusal still stands, so that no request may be made.
    :param renews_inline: whether this keeper has no background. Then the first caller whose token
        is due renews it, and the others go on with theirs.
    """
    if cached is not None and is_usable(need, cached, now, rejected=rejected):
        is_due_here = renews_inline and now >= cached.renew_at
        # A forced token that is usable was granted after the caller came: it cannot be due yet.
        return Action.START if is_due_here and not (is_under_way or need.force) else Action.SERVE
    if is_under_way:
        return Action.JOIN
    return Action.REFUSE if is_refused else Action.START
