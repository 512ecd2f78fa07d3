"""What people may see of a store: its records, without tokens, secrets or personal data.

:mod:`tokenkeeper.stores.overview` makes these from a store. The dashboard and the command line show
them. All of it is text in one line and finite numbers, and fit for JSON by ``as_json()``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from tokenkeeper.schedule import Deadlines

__all__ = [
    "ClaimView",
    "FailureView",
    "Level",
    "RecordState",
    "RecordView",
    "StoreOverview",
    "StoreTotals",
]

OLD_CLAIM_SECONDS = 35.0
"""An older claim is conspicuous: its request should be over, and another process may take over."""

CLOCKS_DIFFER_SECONDS = 30.0
"""Clocks that differ by more are conspicuous."""

RecordState = Literal["fresh", "renewing", "expired", "none", "unreadable"]
"""Where a record's token is in its life, as for :data:`~tokenkeeper.schedule.TokenState`; "none" if
it has no token, "unreadable" if the token can't be opened."""

Level = Literal["problem", "warning", "ok"]
"""How much a record needs a person's attention."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimView:
    """Who is requesting the next token.

    :ivar owner: the process that holds the claim, shortened.
    :ivar age_seconds: how long ago it claimed; ``None`` if that is unknown.
    :ivar intent: what it said that it is about to do.
    """

    owner: str
    age_seconds: float | None
    intent: str

    @property
    def is_old(self) -> bool:
        """Whether its request should be over by now."""
        return self.age_seconds is None or self.age_seconds > OLD_CLAIM_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureView:
    """Why the last token request failed.

    :ivar message: the error in its own words, with secrets and the account hidden.
    :ivar error: the OAuth2 error code (RFC 6749 §5.2); ``None`` without one.
    :ivar status_code: the HTTP status; ``None`` without one.
    :ivar age_seconds: how long ago it was reported; ``None`` if that is unknown.
    :ivar stands_seconds: how long the fleet still refrains from another request; 0 once it is over.
    :ivar failures: how many requests failed in a row.
    :ivar reported_by: the process that made the request, as ``host:pid``.
    :ivar transient: whether a later request may succeed without a person's help.
    """

    message: str
    error: str | None
    status_code: int | None
    age_seconds: float | None
    stands_seconds: float
    failures: int
    reported_by: str
    transient: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordView:
    """One record of a store, at one moment.

    :ivar key: the record's key.
    :ivar provider_name: the provider; ``None`` if nothing readable names it.
    :ivar parameters: what was asked for beyond the provider's registration, by name. An account, a
        subject and an actor are only mentioned.
    :ivar state: where the token is in its life.
    :ivar generation: the number of the latest token.
    :ivar fence: the number of the latest claim.
    :ivar lifetime_seconds: the token's whole lifetime; ``None`` without a token.
    :ivar age_seconds: how long ago the token was requested, by the older of two clocks: the store's
        and the requesting process's. ``None`` if that is unknown, and without a token.
    :ivar remaining_seconds: when the token expires; negative once it has.
    :ivar deadlines: the token's deadlines as ages in seconds, without jitter.
    :ivar clocks_differ_seconds: how much older the token is by the clock of the process that
        requested it, compared with ours, than by the store's clock. 0 if that is unknown.
    :ivar granted_to: the process that requested the token, as ``host:pid``; ``""`` if unknown.
    :ivar claim: who is requesting the next token; ``None`` if no process is.
    :ivar failure: why the last request failed; ``None`` if it succeeded.
    :ivar size_bytes: the length of what is sealed in the record.
    :ivar unreadable: why something in the record can't be read; ``""`` if all of it can.
    """

    key: str
    provider_name: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    state: RecordState = "none"
    generation: int = 0
    fence: int = 0
    lifetime_seconds: float | None = None
    age_seconds: float | None = None
    remaining_seconds: float | None = None
    deadlines: Deadlines | None = None
    clocks_differ_seconds: float = 0.0
    granted_to: str = ""
    claim: ClaimView | None = None
    failure: FailureView | None = None
    size_bytes: int = 0
    unreadable: str = ""

    @property
    def name(self) -> str:
        """What people call the token: its provider and parameters, or else the record's key."""
        if self.provider_name is None:
            return f"record {self.key[:12]}"
        parts = [f"{name}={value}" for name, value in self.parameters.items()]
        return " ".join([self.provider_name, *parts])

    @property
    def level(self) -> Level:
        """How much it needs a person's attention.

        A failure is a problem once the token is inside its buffer, as renewals begin before that.
        """
        if self.state == "unreadable" or (self.failure is not None and self.state != "fresh"):
            return "problem"
        conspicuous = (
            self.state == "expired",
            self.state == "none" and self.claim is None,
            self.failure is not None,
            bool(self.unreadable),
            self.claim is not None and self.claim.is_old,
            self.clocks_differ,
        )
        return "warning" if any(conspicuous) else "ok"

    @property
    def clocks_differ(self) -> bool:
        """Whether the clocks of processes and store differ by more than 30 seconds."""
        return abs(self.clocks_differ_seconds) > CLOCKS_DIFFER_SECONDS

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can express it."""
        deadlines = self.deadlines and self.deadlines._asdict()
        members = {**asdict(self), "deadlines": deadlines, "name": self.name, "level": self.level}
        return {name: _finite(value) for name, value in members.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreTotals:
    """How many of a store's records are in which state. An unreadable failure counts as well."""

    records: int
    shown: int
    fresh: int
    renewing: int
    expired: int
    without_token: int
    unreadable: int
    claims: int
    failures: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOverview:
    """A store at one moment.

    :ivar label: the store's URL without a password.
    :ivar records: its records, problems first, then by name. Fewer than ``totals.records`` if the
        store has more than were asked for.
    :ivar totals: counts; all but ``totals.records`` are about the records that are shown.
    """

    label: str
    records: tuple[RecordView, ...]
    totals: StoreTotals

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can express it."""
        records = [record.as_json() for record in self.records]
        return {"label": self.label, "records": records, "totals": asdict(self.totals)}


def _finite(value: Any) -> Any:
    """Return *value* with ``None`` for each number that JSON can't express."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    return value
