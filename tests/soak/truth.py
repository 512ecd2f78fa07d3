"""Tokens that contain their own expiry, on a clock that all processes here share."""

from typing import NamedTuple

from tokenkeeper.clock import SYSTEM_CLOCK

boot = SYSTEM_CLOCK.monotonic
"""Seconds since the machine booted: the same for the server, its callers and their children."""


class Truth(NamedTuple):
    """What the server granted. It is part of the token, so callers need not ask."""

    provider_name: str
    serial: int
    granted: float
    ends: float

    def as_token(self):
        """Return the token's text, in characters that RFC 6750 allows."""
        return f"{self.provider_name}~{self.serial}~{self.granted:.6f}~{self.ends:.6f}"


def truth_of(token):
    """Return what *token* contains; ``None`` if this server did not grant it."""
    try:
        name, serial, granted, ends = token.split("~")
        return Truth(name, int(serial), float(granted), float(ends))
    except (AttributeError, ValueError):
        return None
