"""A claim in a store that this process holds."""

from __future__ import annotations

from typing import NamedTuple

from tokenkeeper._renewal.slot import Slot
from tokenkeeper._renewal.view import View
from tokenkeeper.stores.base import Claim

__all__ = ["Held"]


class Held(NamedTuple):
    """A claim that this process holds.

    :ivar slot: the record.
    :ivar view: the record, as it was claimed.
    :ivar claimed_at: when the claim was asked for, on the keeper's monotonic clock.
    :ivar beside: the record of the token, as it was read under the claim, if that of its grant is
        claimed instead.
    """

    slot: Slot
    claim: Claim
    view: View
    claimed_at: float
    beside: tuple[Slot, View] | None = None
