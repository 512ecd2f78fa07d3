"""Computes a token's deadlines from its lifetime: when it is renewed, when stale, when invalid.

Nothing here does I/O, holds a lock or reads a clock.

.. code-block:: text

    sent                    renew    stale                          dead     expiry
    |------------------------|--------|------------------------------|--------|
                             <- lead -><- - - - - buffer - - - - - - - - - - ->
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
"""How long before the buffer a renewal starts, so that it is complete when the buffer begins."""

SPREAD_SECONDS = 60.0
"""How far jitter moves a renewal ahead, so that a fleet's requests do not all coincide."""

MARGIN_SECONDS = 10.0
"""How long before its expiry a token is no longer used: requests take time, and clocks differ."""

ROUNDING_SECONDS = 1.0
"""How much earlier than stated a token may expire. Most servers count whole seconds, so a token
granted late in a second loses most of that second (``iat`` and ``exp``, RFC 7519 §4.1)."""

SAME_EXPIRY_SECONDS = 2 * ROUNDING_SECONDS
"""How far two responses about the same expiry may differ: each is rounded to whole seconds."""

LAST_MARGIN_SECONDS = ROUNDING_SECONDS + 0.25
"""The margin of a token that can't be replaced yet: rounding, and the request to the API."""

SOON_SECONDS = 0.35
"""The shortest wait before a server that repeats the same token is asked for a new one."""

SHORTEST_USE = 0.1
"""The fraction of its lifetime that a token is used for, even if the server wants it renewed."""

LONGEST_LIFE_SECONDS = 10 * 365 * 86400.0
"""A token with a longer lifetime is renewed after this time; ``datetime`` ends in the year 9999."""


class Deadlines(NamedTuple):
    """A token's deadlines, in seconds on the keeper's monotonic clock."""

    renew_at: float
    """The token is renewed in the background from here on."""
    stale_at: float
    """The token is inside its buffer from here on; callers still get it."""
    dead_at: float
    """Callers no longer get the token from here on."""
    ends_at: float
    """The server considers the token expired from here on."""


def deadlines(
    sent_at: float,
    lifetime: float,
    buffer_seconds: float,
    jitter: float,
    refresh_after: float | None = None,
) -> Deadlines:
    """Return the deadlines of a token that was requested at *sent_at*.

    The margin of a short lifetime is a twentieth of it, plus the server's rounding. Buffer, lead
    and spread shrink so that together they take at most about half of the rest: every token is used
    for a while before it is renewed.

    :param lifetime: the token's lifetime in seconds.
    :param buffer_seconds: how long before its expiry the token must be renewed.
    :param jitter: a number from 0 to 1 that spreads renewals.
    :param refresh_after: after how many seconds the server wants the token renewed; ``None``, the
        default, if it did not say. Renewal is planned no later than that, but not before a tenth of
        the lifetime has passed.
    """
    rounding = min(ROUNDING_SECONDS, lifetime / 2)
    margin = min(MARGIN_SECONDS, lifetime / 20 + rounding)
    use = lifetime - margin
    # A buffer shorter than the margin must not make an unusable token fresh.
    buffer = min(max(0.0, buffer_seconds - margin), use / 3)
    lead = min(LEAD_SECONDS, use / 10)
    spread = min(SPREAD_SECONDS, use / 20) * jitter
    ends_at = sent_at + lifetime
    dead_at = ends_at - margin
    stale_at = dead_at - buffer
    renew_at = stale_at - lead - spread
    if refresh_after is not None:
        renew_at = min(renew_at, sent_at + max(refresh_after - spread, lifetime * SHORTEST_USE))
    return Deadlines(renew_at, stale_at, dead_at, ends_at)


def deadlines_of_same_token(
    held: Deadlines, ends_at: float, sent_at: float, now: float
) -> Deadlines | None:
    """Return the deadlines of a token that the server granted again with its remaining lifetime.

    Some servers grant no other token until the current one has expired. Then the margin covers only
    rounding, and the next renewal is planned for when a quarter of the rest is left: often enough
    for a server that grants another token near the expiry, with few requests in total.

    :param held: the deadlines so far.
    :param ends_at: the expiry according to the new response.
    :param sent_at: when the request was sent.
    :param now: the current time.
    :returns: ``None`` if the expiry is a later one: the token has a new lifetime, to be planned
        like any other.
    """
    latest_expiry = held.ends_at + ROUNDING_SECONDS
    if ends_at > latest_expiry or sent_at >= latest_expiry:
        return None
    # The response counts whole seconds and took time to arrive, so this may be the same expiry.
    is_same = ends_at >= held.ends_at - SAME_EXPIRY_SECONDS - (now - sent_at)
    if is_same and sent_at < held.renew_at:
        return held  # requested early, perhaps within the same second as the first grant
    if is_same:  # no response is more than a second late, so the later expiry is right
        ends_at = max(ends_at, held.ends_at)
    dead_at = ends_at - LAST_MARGIN_SECONDS
    if is_same:
        dead_at = max(
            dead_at, held.dead_at
        )  # a token of less than three seconds has a smaller margin
    rest = (dead_at - now) / 4
    renew_at = dead_at - rest if rest >= SOON_SECONDS else dead_at
    return Deadlines(renew_at, renew_at, dead_at, ends_at)


def state_at(now: float, stale_at: float, dead_at: float) -> TokenState:
    """Return the state of a token at *now*: "fresh", "renewing" (in its buffer) or "expired"."""
    if now >= dead_at:
        return "expired"
    return "renewing" if now >= stale_at else "fresh"


def lifetime_seconds(expires_at: float, before: Instant, after: Instant) -> float:
    """Return a token's lifetime in seconds from *before*, when its request was sent.

    The provider gives the expiry as wall-clock time. If that clock was set during the request, it
    is unknown whether the provider read it before or after; the shorter of the two lifetimes is
    used, and at most ten years. A step forward may also be a suspend of the machine while the
    response was on its way, in which case the provider dates the expiry too late; so the step is
    subtracted once more. At worst this costs a renewal, but never serves an expired token.

    :param expires_at: the expiry, in seconds since the epoch.
    :param after: the time when the response had arrived.
    """
    seen_before = expires_at - before.wall
    seen_after = expires_at - after.wall + (after.monotonic - before.monotonic)
    paused = after.offset - before.offset
    if paused > CLOCK_STEP_SECONDS:
        seen_after -= paused
    return min(seen_before, seen_after, LONGEST_LIFE_SECONDS)
