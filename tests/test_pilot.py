"""Flights whose callers are struck on the way: each lands, and is flown once."""

import threading

import pytest

from tokenkeeper import TokenKeeper
from tokenkeeper.renewal import Renewal


@pytest.fixture
def struck(monkeypatch):
    """Have the caller that flies first struck by an interrupt, right after it took the flight."""
    strikes = iter([KeyboardInterrupt()])
    claim = Renewal.claim

    def claim_and_be_struck(flight):
        claimed = claim(flight)
        for strike in strikes:
            raise strike
        return claimed

    monkeypatch.setattr(Renewal, "claim", claim_and_be_struck)


@pytest.fixture
def without_threads(monkeypatch):
    """Have the host start no thread."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize("background", [True, False])
def test_an_interrupt_where_there_are_no_threads(
    clock, source, struck, without_threads, background
):
    """Who is interrupted while flying leaves nothing in the air for others to wait for."""
    with TokenKeeper(background=background, clock=clock) as keeper:
        keeper.add_provider(source)
        with pytest.raises(KeyboardInterrupt):
            keeper.get_token("api")
        assert not keeper._renewals._flights
        assert keeper.get_token("api", timeout=0) == "api-1"
