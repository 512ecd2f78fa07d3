"""The event records that hooks get."""

import dataclasses
import pickle
from datetime import UTC, datetime

import pytest

from tokenkeeper import events
from tokenkeeper.events import (
    AcquisitionFailed,
    CooledDown,
    ProviderRemoved,
    RenewalFailed,
    ServedStale,
    TokenAcquired,
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
        yield from (kind("api", now) for kind in (TokenRefused, TokenCleared, ProviderRemoved))

    def test_every_kind_is_there(self):
        """The module lists each kind, and each is an event."""
        kinds = {type(event).__name__ for event in self.every_kind()}
        families = {"TokenEvent", "TokenGranted", "TokenDenied", "EventHook"}
        assert kinds | families == set(events.__all__)
        assert all(isinstance(event, TokenEvent) for event in self.every_kind())

    def test_frozen(self):
        """A record is immutable, comparable and picklable."""
        for event in self.every_kind():
            with pytest.raises(dataclasses.FrozenInstanceError):
                event.provider_name = "other"
            assert pickle.loads(pickle.dumps(event)) == event
            assert event in {event}
