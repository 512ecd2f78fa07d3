"""A keeper without threads: callers renew tokens."""

import threading

import pytest
from kit import internals

from tokenkeeper import TokenAcquisitionError, TokenKeeper

OUTAGE = TokenAcquisitionError("down", status_code=503)


def _interrupted(keeper):
    with pytest.raises(KeyboardInterrupt):
        keeper.get_token("api")


class TestInline:
    """Without a background."""

    @pytest.fixture
    def keeper(self, clock, source):
        with TokenKeeper(background=False, clock=clock, jitter=lambda: 0.0) as keeper:
            keeper.add_provider(source)
            yield keeper

    def test_no_thread_is_started(self, keeper, monkeypatch):
        """Everything happens on the caller's thread."""
        monkeypatch.setattr(threading.Thread, "start", None)
        assert keeper.get_token("api") == "api-1"
        assert keeper.get_token("api", force_refresh=True) == "api-2"
        assert keeper.refresh_all() == {"api": True}

    def test_the_first_caller_in_the_buffer_renews(self, keeper, source, clock):
        """Inside the buffer a read renews; outside it does not."""
        keeper.get_token("api")
        clock.step(3299)
        assert keeper.get_token("api") == "api-1"
        clock.step(2)
        assert keeper.get_token("api") == "api-2"

    def test_the_others_take_the_current_token(self, keeper, source, clock, in_thread):
        """While one caller renews inside the buffer, the others don't wait."""
        keeper.get_token("api")
        clock.step(3400)
        source.gate.clear()
        assert source.entered.acquire(timeout=10)
        thread, got = in_thread(keeper.get_token, "api")
        assert source.entered.acquire(timeout=10)
        assert keeper.get_token("api") == "api-1"
        source.gate.set()
        thread.join(10)
        assert got == ["api-2"]

    def test_a_failure_in_the_buffer_is_nobody_s_error(self, keeper, source, clock):
        """A failed renewal inside the buffer costs one attempt, and is not repeated immediately."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3400)
        assert [keeper.get_token("api") for _ in range(50)] == ["api-1"] * 50
        assert source.requests == 2

    def test_due_renewals_by_hand(self, keeper, source, clock):
        """The scheduler's round may be run by the test."""
        keeper.get_token("api")
        clock.step(3241)
        internals.renew_due(keeper)
        assert keeper.get_token("api") == "api-2"

    def test_keyboard_interrupt(self, keeper, source):
        """An interrupt reaches the caller, and leaves nothing in flight."""
        source.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            keeper.get_token("api")
        assert not internals.flights(keeper)
        source.error = None
        assert keeper.get_token("api") == "api-2"

    def test_another_caller_is_interrupted(self, keeper, source):
        """A caller that waited for an interrupted one requests the token itself."""
        source.gate.clear()
        source.error = KeyboardInterrupt()
        flown = threading.Thread(target=_interrupted, args=(keeper,))
        flown.start()
        assert source.entered.acquire(timeout=10)
        need = internals.need(keeper)
        flight = internals.ask(keeper, need)
        source.gate.set()
        flown.join(10)
        source.error = None
        assert internals.wait_for(keeper, flight, need).access_token == "api-2"


class TestNoThreads:
    """A host that can't start threads."""

    def test_falls_back_to_inline(self, clock, make_source, monkeypatch, caplog):
        """If threads are refused, tokens are renewed inline, and one warning says so."""

        def refuse(self):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        source = make_source()
        with TokenKeeper(clock=clock, jitter=lambda: 0.0) as keeper:
            keeper.add_provider(source)
            assert keeper.get_token("api") == "api-1"
            clock.step(3400)
            assert keeper.get_token("api") == "api-2"
        assert caplog.text.count("starts no threads") == 1
