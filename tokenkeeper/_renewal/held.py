"""A claim in a store that this process holds."""

from __future__ import annotations

from typing import NamedTuple

from tokenkeeper._renewal.view import View
from tokenkeeper.stores.base import Claim

__all__ = ["Held"]


class Held(NamedTuple):
    """A claim that this process holds.

    :ivar key: of the record.
    :ivar view: the record, as it was claimed.
    :ivar claimed_at: when the claim was asked for, on the keeper's monotonic clock.
    """

    key: str
    claim: Claim
    view: View
    claimed_at: float
