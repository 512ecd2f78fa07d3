"""The least that a read of a token can cost, as plain classes.

All do the same: a method call, a dictionary lookup, a reading of a clock, a comparison.
"""

import time
from time import monotonic

from tokenkeeper.clock import SYSTEM_CLOCK

sleep_counting = SYSTEM_CLOCK.monotonic

_HELD = {"api": ("token", sleep_counting() + 86400)}


class Least:
    """The base of every ratio: on ``time.monotonic()``."""

    def __init__(self):
        self._cached = _HELD

    def get_token(self, name):
        token, stale_at = self._cached[name]
        if time.monotonic() < stale_at:
            return token
        raise LookupError(name)


class LeastByName(Least):
    """With the clock imported by name, which saves an attribute lookup."""

    def get_token(self, name):
        token, stale_at = self._cached[name]
        if monotonic() < stale_at:
            return token
        raise LookupError(name)


class LeastOnOurClock(Least):
    """The same on the clock that counts the machine's sleep."""

    def get_token(self, name):
        token, stale_at = self._cached[name]
        if sleep_counting() < stale_at:
            return token
        raise LookupError(name)


class AsyncLeast(Least):
    """:class:`Least` in an ``async def``."""

    async def get_token(self, name):
        token, stale_at = self._cached[name]
        if time.monotonic() < stale_at:
            return token
        raise LookupError(name)


class AsyncLeastByName(Least):
    """:class:`LeastByName` in an ``async def``."""

    async def get_token(self, name):
        token, stale_at = self._cached[name]
        if monotonic() < stale_at:
            return token
        raise LookupError(name)


class AsyncLeastOnOurClock(Least):
    """:class:`LeastOnOurClock` in an ``async def``."""

    async def get_token(self, name):
        token, stale_at = self._cached[name]
        if sleep_counting() < stale_at:
            return token
        raise LookupError(name)
