"""The hook that records events, and the default keeper of a test."""

import threading
from datetime import UTC, datetime

import pytest

from tokenkeeper import TokenKeeper, get_default_keeper, get_default_manager
from tokenkeeper.events import TokenCleared, TokenRefused
from tokenkeeper.testing import EventRecorder, default_keeper

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_waits():
    """A wait ends when the event arrives from another thread."""
    recorder = EventRecorder()
    thread = threading.Thread(target=recorder, args=[TokenRefused("api", NOW)])
    thread.start()
    assert recorder.wait_for(TokenRefused) == TokenRefused("api", NOW)
    thread.join()


def test_each_event_once():
    """wait_for() returns each event once and in order; the list of events keeps all of them."""
    recorder = EventRecorder()
    for name in ("first", "second"):
        recorder(TokenCleared(name, NOW))
    assert recorder.wait_for(TokenCleared).provider_name == "first"
    assert recorder.wait_for(TokenCleared).provider_name == "second"
    assert [event.provider_name for event in recorder.events] == ["first", "second"]
    with pytest.raises(TimeoutError, match=r"no TokenCleared .* TokenCleared, TokenCleared"):
        recorder.wait_for(TokenCleared, timeout=0)


def test_of_one_provider():
    """Events of other providers are skipped."""
    recorder = EventRecorder()
    recorder(TokenCleared("other", NOW))
    recorder(TokenCleared("api", NOW))
    assert recorder.wait_for(TokenCleared, "api").provider_name == "api"


def test_nothing_came():
    """A wait without an event raises TimeoutError, which says that there was none."""
    with pytest.raises(TimeoutError, match="Events so far: none"):
        EventRecorder().wait_for(TokenCleared, timeout=0)


def test_default_keeper():
    """A keeper is the default of both fronts inside the block only."""
    before = get_default_keeper()
    with TokenKeeper() as keeper:
        with default_keeper(keeper):
            assert get_default_keeper() is get_default_manager().keeper is keeper
        assert get_default_keeper() is get_default_manager().keeper is before
