"""Renewals whose callers are interrupted: each completes, and runs once."""

import threading

import pytest
from kit import internals

from tokenkeeper import RetryPolicy, TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal.renewal import Renewal


@pytest.fixture
def struck(monkeypatch):
    """Interrupt the first caller right after it took the flight."""
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
    """Let the host refuse threads."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.parametrize("background", [True, False])
def test_an_interrupt_where_there_are_no_threads(
    clock, source, struck, without_threads, background
):
    """A caller that is interrupted during its renewal leaves nothing in flight for others."""
    with TokenKeeper(background=background, clock=clock) as keeper:
        keeper.add_provider(source)
        with pytest.raises(KeyboardInterrupt):
            keeper.get_token("api")
        assert not internals.flights(keeper)
        assert keeper.get_token("api", timeout=0) == "api-1"


def test_a_server_that_asks_for_a_moment_again_and_again(keeper, source, clock):
    """It is asked again for four seconds in all, to the tick, although no caller needs to wait."""
    source.retry = RetryPolicy(attempts=1)
    source.error = TokenAcquisitionError("too early", transient=True, retry_after=2.0)
    began = clock.monotonic()
    with pytest.raises(TokenAcquisitionError, match="too early"):
        keeper.get_token("api")
    assert source.requests == 3
    assert clock.monotonic() - began == 4.0


def test_a_caller_s_flight_comes_before_queued_renewals(clock, make_source):
    """With all workers busy, a token that a caller waits for precedes tokens that are only due."""
    order = []

    def sourced(name):
        source = make_source(name)
        acquire = source.acquire_token
        source.acquire_token = lambda: (order.append(name), acquire())[1]
        return source

    with TokenKeeper(clock=clock, max_workers=1, jitter=lambda: 0.0) as keeper:
        internals.take_over_scheduler(keeper)
        sources = {name: sourced(name) for name in ("busy", "due-1", "due-2", "caller-s")}
        for source in sources.values():
            keeper.add_provider(source)
        for name in ("busy", "due-1", "due-2"):
            keeper.get_token(name)
        order.clear()
        busy = sources["busy"]
        busy.gate.clear()
        assert busy.entered.acquire(timeout=10)
        clock.step(3241)
        for name in ("busy", "due-1", "due-2"):
            internals.renew(keeper, name)
        assert busy.entered.acquire(timeout=10)
        need = internals.need(keeper, "caller-s")
        flight = internals.ask(keeper, need)
        busy.gate.set()
        assert internals.wait_for(keeper, flight, need).access_token == "caller-s-1"
        for name in ("due-1", "due-2"):
            flight = internals.flight(keeper, name)
            assert flight is None or flight.wait(10)
        internals.release_scheduler(keeper)
    assert order == ["busy", "caller-s", "due-1", "due-2"]
