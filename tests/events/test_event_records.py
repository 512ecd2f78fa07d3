"""The event records that hooks get."""

import dataclasses
import pickle
from datetime import UTC, datetime

import pytest

from tokenkeeper import events
from tokenkeeper.events import (
    AcquisitionFailed,
    ClaimTakenOver,
    ClocksDisagree,
    CooledDown,
    ProviderRemoved,
    RecordReplaced,
    RenewalFailed,
    ServedStale,
    SignInCompleted,
    SignInFailed,
    SignInStarted,
    StoreRecovered,
    StoreUnavailable,
    TokenAcquired,
    TokenAdopted,
    TokenCleared,
    TokenEvent,
    TokenRefused,
    TokenRejected,
    TokenRenewed,
)


class TestRecords:
    """Records are values."""

    def every_kind(self):
        now = datetime(2026, 1, 2, tzinfo=UTC)
        yield from (kind("api", now, 1, 0.5, 60.0) for kind in (TokenAcquired, TokenRenewed))
        for kind in (AcquisitionFailed, RenewalFailed):
            yield kind("api", now, 1, 0.5, 0.0, "invalid_client", 401, "no")
        yield ServedStale("api", now, 5.0)
        yield CooledDown("api", now, 30.0)
        yield TokenRejected("api", now, 4, 30.0)
        yield TokenAdopted(
            "api", now, age_seconds=0.1, remaining_seconds=5.0, generation=2, granted_to="host:1"
        )
        yield ClaimTakenOver("api", now, claim_age_seconds=40.0, intent="host:1 is about to ask")
        yield RecordReplaced("api", now, reason="it was cut short")
        yield ClocksDisagree("api", now, difference_seconds=-3600.0)
        yield StoreUnavailable("api", now, store="redis://cache", reason="it is down")
        yield StoreRecovered("api", now, store="redis://cache", unavailable_seconds=9.0)
        for kind in (SignInStarted, SignInCompleted):
            yield kind("api", now, grant_type="authorization_code")
        yield SignInFailed("api", now, grant_type="ciba", error="access_denied", reason="no")
        yield from (kind("api", now) for kind in (TokenRefused, TokenCleared, ProviderRemoved))

    def test_every_kind_is_there(self):
        """The module lists each kind, and each is an event."""
        kinds = {type(event).__name__ for event in self.every_kind()}
        families = {"TokenEvent", "TokenGranted", "TokenDenied", "SignInEvent", "EventHook"}
        assert kinds | families == set(events.__all__)
        assert all(isinstance(event, TokenEvent) for event in self.every_kind())

    def test_frozen(self):
        """A record is immutable, comparable and picklable."""
        for event in self.every_kind():
            with pytest.raises(dataclasses.FrozenInstanceError):
                event.provider_name = "other"
            assert pickle.loads(pickle.dumps(event)) == event
            assert event in {event}
