"""Looks at the records of a store for people: reads and opens them, and leaves out the secrets.

Nothing here claims, publishes or forgets anything.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from tokenkeeper._support.escaping import escaped
from tokenkeeper.clock import SYSTEM_CLOCK, Clock
from tokenkeeper.exceptions import StoreUnavailableError
from tokenkeeper.names import provider_of, stated_in
from tokenkeeper.oauth.redaction import sanitize
from tokenkeeper.schedule import Deadlines, deadlines, state_at
from tokenkeeper.stores.base import NO_RECORD, Record
from tokenkeeper.stores.contents import StoredFailure, StoredToken
from tokenkeeper.stores.sealed import Sealer, UnreadableError
from tokenkeeper.stores.views import (
    ClaimView,
    FailureView,
    RecordState,
    RecordView,
    StoreOverview,
    StoreTotals,
)

if TYPE_CHECKING:
    from tokenkeeper.stores.settings import StoreSettings

__all__ = ["overview", "record_view"]

BUFFER_SECONDS = 300.0
"""The default buffer of a keeper. A store does not know that of its keepers."""

MOST_RECORDS = 1000

SHOWN_PARAMETERS = ("scope", "resource", "audience", "tenant")
"""The parameters whose values are shown. Others identify a person, or are digests of tokens."""

LONGEST_TEXT = 200
LONGEST_MESSAGE = 500
LONGEST_OWNER = 8
"""Characters of an owner, which is a random text. Who it is says the claim's intent."""

_LEVELS = {"problem": 0, "warning": 1, "ok": 2}


def overview(
    settings: StoreSettings,
    clock: Clock = SYSTEM_CLOCK,
    *,
    limit: int = MOST_RECORDS,
    buffer_seconds: float = BUFFER_SECONDS,
) -> StoreOverview:
    """Return what people may see of a store, which is left unchanged. Thread-safe.

    It takes one operation for each record, and one that lists the keys.

    :param clock: the source of the wall-clock time, which is compared with that of the processes
        that requested the tokens.
    :param limit: how many records to read, in the order of their keys; 1,000 by default.
    :param buffer_seconds: how long before its expiry a token counts as "renewing"; 300 by default.
    :raises StoreUnavailableError: if the store can't be read. A single record that can't be read is
        listed with the reason.
    """
    counted = _Counted(settings.store.keys())
    keys = heapq.nsmallest(limit, counted)
    views = []
    for key in keys:
        try:
            record = settings.store.read(key)
        except StoreUnavailableError as error:
            if not error.is_misconfigured:
                raise
            # Such as a key of another type, which must not hide the other records.
            reason = _short(str(error), LONGEST_MESSAGE)
            views.append(RecordView(key=escaped(key), state="unreadable", unreadable=reason))
            continue
        if record != NO_RECORD:  # unless it was removed meanwhile
            views.append(
                record_view(
                    key, record, settings.sealer, clock.time(), buffer_seconds=buffer_seconds
                )
            )
    views.sort(key=lambda view: (_LEVELS[view.level], view.name, view.key))
    records = counted.number - (len(keys) - len(views))
    return StoreOverview(
        label=_short(settings.label), records=tuple(views), totals=_totals(views, records)
    )


def record_view(
    key: str,
    record: Record,
    sealer: Sealer,
    wall_time: float,
    *,
    buffer_seconds: float = BUFFER_SECONDS,
) -> RecordView:
    """Return what people may see of *record*, which a store returned for *key*.

    :param wall_time: the current time, in seconds since the epoch.
    :param buffer_seconds: how long before its expiry the token counts as "renewing"; 300 by
        default.
    """
    reasons = []
    token = failure = None
    if record.sealed is not None:
        try:
            token = StoredToken.from_bytes(sealer.open(record.sealed, key, "token"))
        except UnreadableError as error:
            reasons.append(f"the token can't be read: {error}")
    if record.failure is not None:
        try:
            failure = StoredFailure.from_bytes(sealer.open(record.failure.sealed, key, "failure"))
        except UnreadableError as error:
            reasons.append(f"the failure can't be read: {error}")
    age, clocks_differ = _age(record, token, wall_time)
    lifetime = None if token is None else _lifetime(record, token)
    times = None if token is None else _deadlines(token, lifetime or 0.0, buffer_seconds)
    token_name = token.token_name if token else failure.token_name if failure else None
    return RecordView(
        key=escaped(key),
        provider_name=None if token_name is None else _short(provider_of(token_name)),
        parameters={} if token_name is None else _shown_parameters(token_name, key),
        state=_state(record, times, age),
        generation=record.generation,
        fence=record.fence,
        lifetime_seconds=lifetime,
        age_seconds=age if math.isfinite(age) else None,
        remaining_seconds=(None if lifetime is None or math.isinf(age) else lifetime - age),
        deadlines=times,
        clocks_differ_seconds=clocks_differ,
        granted_to=_short(token.granted_to) if token else "",
        claim=_claim_view(record),
        failure=_failure_view(failure, record, token),
        size_bytes=len(record.sealed or b"")
        + len(record.failure.sealed if record.failure else b""),
        unreadable=_short("; ".join(reasons), LONGEST_MESSAGE),
    )


class _Counted(Iterable[str]):
    """Counts the keys that it passes on, of which there may be more than fit into memory."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.number = 0
        self._keys = keys

    def __iter__(self) -> Iterator[str]:
        for key in self._keys:
            self.number += 1
            yield key


def _lifetime(record: Record, token: StoredToken) -> float:
    """Return the lifetime that the store, where it is not sealed, and the sealed token agree on."""
    sealed = token.token.expires_at.timestamp() - token.requested_at
    lifetime = min(record.lifetime_seconds, sealed)
    return lifetime if lifetime > 0 else 0.0  # also for NaN


def _age(record: Record, token: StoredToken | None, wall_time: float) -> tuple[float, float]:
    """Return the token's age by the older of two clocks, and by how much they differ."""
    by_store = record.age_seconds
    if token is None or math.isnan(by_store):
        return math.inf, 0.0
    by_wall = wall_time - token.requested_at
    if not (math.isfinite(by_wall) and math.isfinite(by_store)):
        return max(0.0, by_store), 0.0
    return max(0.0, by_store, by_wall), by_wall - by_store


def _deadlines(token: StoredToken, lifetime: float, buffer_seconds: float) -> Deadlines:
    """Return the token's deadlines as ages."""
    refresh_after = None
    if token.token.refresh_at is not None and math.isfinite(token.requested_at):
        refresh_after = token.token.refresh_at.timestamp() - token.requested_at
    return deadlines(0.0, lifetime, buffer_seconds, 0.0, refresh_after)


def _state(record: Record, times: Deadlines | None, age: float) -> RecordState:
    if record.sealed is None:
        return "none"
    return "unreadable" if times is None else state_at(age, times.stale_at, times.dead_at)


def _claim_view(record: Record) -> ClaimView | None:
    if not record.is_claimed:
        return None
    age = record.claim_age_seconds
    return ClaimView(
        owner=_short(record.owner, LONGEST_OWNER),
        age_seconds=max(0.0, age) if math.isfinite(age) else None,
        intent=_short(record.intent),
    )


def _failure_view(
    failure: StoredFailure | None, record: Record, token: StoredToken | None
) -> FailureView | None:
    if failure is None or record.failure is None:
        return None
    age = record.failure.age_seconds
    left = failure.stands_seconds - age
    secrets = _hidden_values(failure.token_name)
    if token is not None:
        secrets += [token.token.access_token, token.token.refresh_token or ""]
    return FailureView(
        message=sanitize(failure.message, secrets, limit=LONGEST_MESSAGE),
        error=None if failure.error is None else sanitize(failure.error, secrets),
        status_code=failure.status_code,
        age_seconds=max(0.0, age) if math.isfinite(age) else None,
        stands_seconds=max(0.0, left) if math.isfinite(left) else 0.0,
        failures=failure.failures,
        reported_by=_short(failure.reported_by),
        transient=failure.transient,
    )


def _shown_parameters(token_name: str, key: str) -> dict[str, str]:
    """Return the parameters in a token's name, without personal data.

    The record's key makes two accounts of one provider distinguishable.
    """
    shown = {}
    for name, value in _members(token_name).items():
        words = value if isinstance(value, list) else [value]
        text = " ".join(map(str, words)) if name in SHOWN_PARAMETERS else f"…{key[:6]}"
        shown[_short(name)] = _short(text)
    return shown


def _hidden_values(token_name: str) -> list[str]:
    """Return what must not be shown of a token's name, such as the account."""
    members = _members(token_name).items()
    return [str(value) for name, value in members if name not in SHOWN_PARAMETERS]


def _members(token_name: str) -> dict[str, object]:
    try:
        members = json.loads(stated_in(token_name) or "{}")
    except (ValueError, RecursionError):
        return {}
    return members if isinstance(members, dict) else {}


def _short(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return *text* in one line that no terminal and no reader misunderstands."""
    line = escaped(text[:longest])
    return line + "…" if len(text) > longest else line


def _totals(views: list[RecordView], records: int) -> StoreTotals:
    states = Counter(view.state for view in views)
    return StoreTotals(
        records=records,
        shown=len(views),
        fresh=states["fresh"],
        renewing=states["renewing"],
        expired=states["expired"],
        without_token=states["none"],
        unreadable=sum(bool(view.unreadable) for view in views),
        claims=sum(view.claim is not None for view in views),
        failures=sum(view.failure is not None for view in views),
        size_bytes=sum(view.size_bytes for view in views),
    )
