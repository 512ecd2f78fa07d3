"""A record of the store, opened: what a keeper sees of one token of its fleet."""

from __future__ import annotations

import math
from typing import NamedTuple

from tokenkeeper.schedule import LONGEST_LIFE_SECONDS
from tokenkeeper.stores.base import Record
from tokenkeeper.stores.contents import StoredFailure, StoredToken

__all__ = ["View"]


class View(NamedTuple):
    """A record, opened.

    :ivar read_at: when it was read, on the keeper's monotonic clock; no later than that.
    :ivar stored: its token; ``None`` if it has none, or can't be read.
    :ivar age_seconds: how long ago that token was requested: the older of what the store and the
        wall clocks say.
    :ivar unreadable: why its token can't be read; ``None`` if it can.
    :ivar failure: why the last request failed, if it did.
    :ivar failure_age_seconds: how long ago that was reported.
    """

    record: Record
    read_at: float
    stored: StoredToken | None = None
    age_seconds: float = math.inf
    unreadable: str | None = None
    failure: StoredFailure | None = None
    failure_age_seconds: float = 0.0

    @property
    def generation(self) -> int:
        """The generation of the record."""
        return self.record.generation

    @property
    def lifetime_seconds(self) -> float:
        """The whole lifetime of its token: the shorter of what the store and the token say."""
        if self.stored is None:
            return 0.0
        sealed = self.stored.token.expires_at.timestamp() - self.stored.requested_at
        stated = self.record.lifetime_seconds
        if not (sealed > 0 and stated > 0):  # also for NaN
            return 0.0
        return min(stated, sealed, LONGEST_LIFE_SECONDS)

    @property
    def requested_at(self) -> float:
        """When its token was requested, on the keeper's monotonic clock."""
        return self.read_at - self.age_seconds
