"""The end of a keeper and of its objects: close, collection, exit."""

import gc
import threading
import weakref

import pytest
from kit import internals

from tokenkeeper import (
    KeeperClosedError,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
    TokenWaitTimeoutError,
)
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper.testing import SteppedClock


class TestClose:
    """The end of a keeper."""

    def test_after_close_every_call_raises(self, keeper, source, make_source):
        """A closed keeper returns no tokens; closing twice is allowed."""
        keeper.get_token("api")
        keeper.close()
        keeper.close()
        assert source.closed == 1
        assert keeper.is_closed
        for call in (
            lambda: keeper.get_token("api"),
            lambda: keeper.get_token("api", force_refresh=True),
            lambda: keeper.renew_refused("api", "x"),
            lambda: keeper.clear_token(),
            lambda: keeper.get_cached_token_info("api"),
            lambda: keeper.list_providers(),
            lambda: keeper.refresh_all(),
            lambda: keeper.remove_provider("api"),
            lambda: keeper.add_provider(make_source("new")),
        ):
            with pytest.raises(KeeperClosedError):
                call()

    def test_who_waits_is_told(self, keeper, source, in_thread):
        """Closing raises an error in waiting callers, and does not wait for the server."""
        source.gate.clear()
        waiters = [in_thread(keeper.get_token, "api") for _ in range(4)]
        assert source.entered.acquire(timeout=10)
        closer = threading.Thread(target=keeper.close)
        closer.start()
        for thread, _ in waiters:
            thread.join(10)
        assert all(isinstance(results[0], KeeperClosedError) for _, results in waiters)
        source.gate.set()
        closer.join(10)

    def test_a_request_that_has_not_begun_is_not_sent(self, keeper, source, monkeypatch):
        """A worker that took its job before close() and starts it afterwards sends nothing."""
        took, go_on = threading.Event(), threading.Event()
        claim = Renewal.claim

        def claim_late(flight):
            took.set()
            assert go_on.wait(20)
            return claim(flight)

        monkeypatch.setattr(Renewal, "claim", claim_late)
        with pytest.raises(TokenWaitTimeoutError):
            keeper.get_token("api", timeout=0)
        assert took.wait(20)
        (worker,) = internals.worker_threads(keeper)
        with internals.threads_left_running(keeper):
            keeper.close()
        go_on.set()
        internals.end_threads(keeper, 10)
        assert not worker.is_alive()
        assert source.requests == 0

    def test_a_wait_before_a_retry_ends_at_once(self, source, in_thread):
        """Closing wakes a worker that waits for a retry, and the caller that waits for it."""

        class Waits(SteppedClock):
            begun = threading.Event()

            def wait(self, event, timeout):
                if threading.current_thread().name == "tokenkeeper-worker":
                    self.begun.set()
                return super().wait(event, timeout)

        clock = Waits()
        keeper = TokenKeeper(clock=clock)
        source.error = TokenAcquisitionError("busy", status_code=503, retry_after=30)
        keeper.add_provider(source)
        thread, got = in_thread(keeper.get_token, "api")
        assert clock.begun.wait(10)
        (worker,) = internals.worker_threads(keeper)
        keeper.close()
        assert not worker.is_alive()  # close() waits for a second at most
        thread.join(10)
        assert isinstance(got[0], KeeperClosedError)
        assert source.requests == 1

    def test_context_manager(self, clock, source):
        """Leaving the block closes the keeper."""
        with TokenKeeper(clock=clock) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
        with pytest.raises(KeeperClosedError):
            keeper.get_token("api")

    def test_a_provider_that_fails_to_close(self, clock, make_source, caplog):
        """An error in a provider's close() is logged, and the other providers are closed."""
        bad, good = make_source("bad"), make_source("good")
        bad.close = lambda: 1 / 0
        keeper = TokenKeeper(clock=clock)
        keeper.add_provider(bad)
        keeper.add_provider(good)
        keeper.close()
        assert good.closed == 1
        assert "'bad' failed to close" in caplog.text

    def test_threads_end(self, make_source):
        """Closing ends the threads that it started."""
        before = set(threading.enumerate())
        keeper = TokenKeeper()
        keeper.add_provider(make_source(lifetime=1e9))
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api", force_refresh=True, timeout=0)
        keeper.close()
        assert set(threading.enumerate()) <= before

    def test_a_dropped_keeper_is_collected(self, source, clock):
        """A dropped keeper is collected, and its threads end."""
        keeper = TokenKeeper(clock=clock)
        keeper.add_provider(source)
        keeper.get_token("api")
        background = internals.background(keeper)
        thread = internals.scheduler_thread(keeper)
        alive = weakref.ref(keeper)
        del keeper
        gc.collect()
        assert alive() is None
        thread.join(20)
        assert not thread.is_alive()
        assert background.closing.is_set()


def _tokens_in_memory(provider_name):
    tokens = [each for each in gc.get_objects() if isinstance(each, OAuth2Token)]
    return sum(each.access_token.startswith(f"{provider_name}-") for each in tokens)


def test_an_old_token_leaves_memory_at_once(clock, make_source):
    """No cycle refers to a token that was replaced or cleared, so it is freed immediately."""
    name = "freed"  # unlike those of other tests, whose threads may still free theirs
    with TokenKeeper(background=False, clock=clock) as keeper:
        keeper.add_provider(make_source(name))
        gc.collect()
        gc.disable()
        try:
            before = _tokens_in_memory(name)
            keeper.get_token(name)
            keeper.get_token(name, force_refresh=True)
            assert _tokens_in_memory(name) == before + 1
            keeper.clear_token()
            assert _tokens_in_memory(name) == before
        finally:
            gc.enable()


def test_at_exit_the_threads_end(source):
    """At the interpreter's exit the threads end, and callers still get tokens."""
    keeper = TokenKeeper()
    keeper.add_provider(source)
    keeper.get_token("api")
    thread = internals.scheduler_thread(keeper)
    internals.all_keepers_go_inline()
    thread.join(10)
    assert not thread.is_alive()
    assert keeper.get_token("api", force_refresh=True) == "api-2"
    keeper.close()
