"""The arithmetic of a token's life: from a lifetime to "renew at", "stale at", "dead at".

Nothing here does I/O, holds a lock or asks for the time; every function is a table of cases.

.. code-block:: text

    sent                    renew    stale                          dead     end
    |------------------------|--------|------------------------------|--------|
                             <- lead -><- - - - - buffer - - - - - - - - - - - >
                                                                     <- margin >
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from tokenkeeper._runtime.clock_steps import CLOCK_STEP_SECONDS
from tokenkeeper.clock import Instant

__all__ = [
    "Deadlines",
    "TokenState",
    "deadlines",
    "deadlines_of_same_token",
    "lifetime_seconds",
    "state_at",
]

TokenState = Literal["fresh", "renewing", "expired"]
"""Where a token is in its life: see :func:`state_at`."""

LEAD_SECONDS = 60.0
"""How long before the buffer a renewal begins, so that it is done when the buffer does."""

SPREAD_SECONDS = 60.0
"""How far jitter moves a renewal ahead, so that a fleet does not knock all at once."""

MARGIN_SECONDS = 10.0
"""How long before its end a token is dead to us: the way to the API takes time, clocks differ."""

ROUNDING_SECONDS = 1.0
"""How much earlier than it says a server may end a token: most count time in whole seconds, so one
granted late in a second lost the most of it (``iat`` and ``exp``, RFC 7519 §4.1)."""

SAME_EXPIRY_SECONDS = 2 * ROUNDING_SECONDS
"""Two answers that name one expiry differ by this much at most: each counts whole seconds."""

LAST_MARGIN_SECONDS = ROUNDING_SECONDS + 0.25
"""The margin of a token in place of which no other can be had: rounding, and the way to the API."""

SOON_SECONDS = 0.35
"""A server that grants a token again until it expires is asked no sooner than after this time."""

EARLIEST_USE = 0.1
"""The part of its life for which a token is used at least, whatever the server says of renewals."""

LONGEST_LIFE_SECONDS = 10 * 365 * 86400.0
"""A token that claims to live longer is renewed all the same; dates have an end."""


class Deadlines(NamedTuple):
    """When something must happen to a token, in seconds on the keeper's monotonic clock."""

    renew_at: float
    """From here on the refresher renews the token."""
    stale_at: float
    """From here on the token is inside its buffer; readers still get it."""
    dead_at: float
    """From here on nobody gets it."""
    ends_at: float
    """Here the server ends it."""


def deadlines(
    sent_at: float,
    lifetime: float,
    buffer_seconds: float,
    jitter: float,
    refresh_after: float | None = None,
) -> Deadlines:
    """Return the deadlines of a token asked for at *sent_at* that lives *lifetime* seconds.

    The margin of a short life is a twentieth of it, and what the server's rounding may take; what
    is left is the token's use. Buffer, lead and spread shrink so that together they never take
    more than about half of that: a token is always used for a while before it is renewed.

    :param jitter: a number from 0 to 1 that spreads renewals.
    :param refresh_after: the seconds after which the server wants the token renewed, where it says
        so. Renewal is planned no later than that, but not before a tenth of the life has passed.
    """
    rounding = min(ROUNDING_SECONDS, lifetime / 2)
    margin = min(MARGIN_SECONDS, lifetime / 20 + rounding)
    use = lifetime - margin
    # A buffer of less than the margin must not call a dead token fresh.
    buffer = min(max(0.0, buffer_seconds - margin), use / 3)
    lead = min(LEAD_SECONDS, use / 10)
    spread = min(SPREAD_SECONDS, use / 20) * jitter
    ends_at = sent_at + lifetime
    dead_at = ends_at - margin
    stale_at = dead_at - buffer
    renew_at = stale_at - lead - spread
    if refresh_after is not None:
        renew_at = min(renew_at, sent_at + max(refresh_after - spread, lifetime * EARLIEST_USE))
    return Deadlines(renew_at, stale_at, dead_at, ends_at)


def deadlines_of_same_token(
    held: Deadlines, ends_at: float, sent_at: float, now: float
) -> Deadlines | None:
    """Return the deadlines of a token that the server granted again with what is left of its life.

    Some servers grant no other token until this one has expired. The margin is then only what
    rounding may take, and the next renewal is planned when a quarter of the rest is left: often
    enough for a server that grants another one near the end, a few requests in all.

    :param held: the deadlines until now.
    :param ends_at: the expiry by the new answer.
    :param sent_at: when the request for it was sent.
    :returns: ``None`` if the expiry is another one, and later: that is a new life, and planned
        like any other.
    """
    last_moment = held.ends_at + ROUNDING_SECONDS
    if ends_at > last_moment or sent_at >= last_moment:
        return None
    # The answer counts whole seconds, and took a while to come: it may be the same expiry.
    is_same = ends_at >= held.ends_at - SAME_EXPIRY_SECONDS - (now - sent_at)
    if is_same and sent_at < held.renew_at:
        return held  # somebody asked early, perhaps within the second of the first grant
    if is_same:  # no answer is more than a second late, so the latest one counts
        ends_at = max(ends_at, held.ends_at)
    dead_at = ends_at - LAST_MARGIN_SECONDS
    if is_same:
        dead_at = max(dead_at, held.dead_at)  # as for a token of less than three seconds
    rest = (dead_at - now) / 4
    renew_at = dead_at - rest if rest >= SOON_SECONDS else dead_at
    return Deadlines(renew_at, renew_at, dead_at, ends_at)


def state_at(now: float, stale_at: float, dead_at: float) -> TokenState:
    """Return the state of a token at *now*: "fresh", "renewing" (in its buffer) or "expired"."""
    if now >= dead_at:
        return "expired"
    return "renewing" if now >= stale_at else "fresh"


def lifetime_seconds(expires_at: float, before: Instant, after: Instant) -> float:
    """Return how long a token lives from *before*, the moment its request was sent.

    The provider gave the end as wall-clock time. If someone stepped that clock while the request
    was under way, nobody knows which side of the step the provider saw; the shorter life of the
    two is taken, and ten years at most. A step forward may be a pause of the machine with the
    answer on its way, which the provider then dates too late; so it is taken off once more. That
    may cost a renewal, never a dead token.
    """
    seen_before = expires_at - before.wall
    seen_after = expires_at - after.wall + (after.monotonic - before.monotonic)
    paused = after.offset - before.offset
    if paused > CLOCK_STEP_SECONDS:
        seen_after -= paused
    return min(seen_before, seen_after, LONGEST_LIFE_SECONDS)
