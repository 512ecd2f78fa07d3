"""Rare branches of the slow path: interruptions, forks, misbehaving providers."""

import sys
from unittest import mock

import pytest
from kit import internals

from tokenkeeper import OAuth2Error, TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal.delivery import MAX_PENDING
from tokenkeeper._renewal.notifier import Notifier, write_log_line
from tokenkeeper._renewal.renewal import callers_context
from tokenkeeper.events import TokenCleared
from tokenkeeper.testing import SteppedClock

NOW = SteppedClock().time()


class SignalError(Exception):
    """An exception of a signal handler, like that of a task queue's time limit."""


@pytest.fixture
def interrupt(interrupt_with):
    """Return a function that raises an exception in the main thread from a signal handler."""
    return interrupt_with(SignalError)


@pytest.fixture
def inline(clock, source):
    """Return a keeper that renews on the threads of its callers."""
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(source)
        yield keeper


class TestInterruptions:
    """Exceptions that the host raises in a caller's thread."""

    def test_an_exception_of_a_signal_handler(self, inline, source, interrupt):
        """It reaches the caller unchanged, without a retry, and the next caller succeeds."""
        with (
            mock.patch.object(source, "acquire_token", interrupt),
            pytest.raises(SignalError),
        ):
            inline.get_token("api")
        assert inline.get_token("api") == "api-1"

    def test_an_exit_of_a_provider_inline(self, inline, source):
        """A provider that ends the process does so."""
        source.error = SystemExit(3)
        with pytest.raises(SystemExit):
            inline.get_token("api")

    def test_an_exit_of_a_provider_on_a_worker(self, keeper, source, caplog):
        """On a worker it is reported, and the caller gets an error."""
        source.error = SystemExit(3)
        with pytest.raises(TokenAcquisitionError, match="SystemExit"):
            keeper.get_token("api")

    def test_a_caller_that_is_struck_before_the_start(self, keeper, monkeypatch):
        """A worker makes the renewal that a caller could not start, and others get the token."""
        background = internals.background(keeper)
        work, strikes = background.work, [KeyboardInterrupt()]

        def struck(job, *, urgent, nested=False):
            if strikes:
                raise strikes.pop()
            return work(job, urgent=urgent)

        monkeypatch.setattr(background, "work", struck)
        with pytest.raises(KeyboardInterrupt):
            keeper.get_token("api")
        assert keeper.get_token("api") == "api-1"

    def test_a_failure_while_the_outcome_is_noted(self, keeper, monkeypatch):
        """Callers get an error instead of waiting for ever."""
        with (
            internals.before_completion(keeper, mock.Mock(side_effect=ValueError("a bug"))),
            pytest.raises(TokenAcquisitionError, match="ValueError"),
        ):
            keeper.get_token("api")


class TestProviders:
    """What providers raise."""

    def test_endless_recursion(self, keeper, source):
        """A provider that calls itself gets an error that says so, with a short traceback."""

        def acquire_token():
            return acquire_token()

        source.acquire_token = acquire_token
        with pytest.raises(TokenAcquisitionError, match="called itself endlessly") as caught:
            keeper.get_token("api")
        assert caught.value.__cause__ is None

    def test_a_server_that_asks_for_a_moment_while_a_token_expires(self, keeper, source, clock):
        """The wait is short then, as callers may be waiting."""
        keeper.get_token("api")
        clock.step(3599)
        later = TokenAcquisitionError("too early", transient=True, retry_after=1.5)
        source.error = later
        with pytest.raises(OAuth2Error):
            keeper.get_token("api")
        assert later.retry_after < 1

    @pytest.mark.parametrize("message", ["can't start new thread", "something else"])
    def test_a_host_without_threads(self, keeper, source, message):
        """A provider that needs a thread, and gets none, is not blamed for it."""
        source.error = RuntimeError(message)
        with pytest.raises(TokenAcquisitionError) as caught:
            keeper.get_token("api")
        assert ("needs a thread" in str(caught.value)) is (message != "something else")


class TestRenewals:
    """Renewals without a caller."""

    def test_a_token_that_is_not_due(self, keeper, source):
        """A token that is not due is scheduled again instead of renewed."""
        keeper.get_token("api")
        internals.scheduler(keeper).forget("api")
        internals.renew(keeper)
        assert internals.is_scheduled(keeper)
        assert source.requests == 1

    def test_a_changed_provider_without_a_token(self, keeper, source):
        """A changed provider without a token causes no request."""
        internals.reconsider(keeper)
        assert internals.flight(keeper) is None
        assert source.requests == 0

    def test_a_closed_keeper_in_a_forked_child(self, keeper):
        """A closed keeper stays closed in a forked child."""
        keeper.close()
        internals.after_fork_in_child(keeper)
        assert keeper.is_closed


def test_health_while_an_api_rejects_and_the_server_fails(keeper, source):
    """The server's error is shown, and the number of rejected tokens."""
    for _ in range(5):
        try:
            keeper.renew_refused("api", keeper.get_token("api"))
        except TokenAcquisitionError:
            break
    source.error = TokenAcquisitionError("down", status_code=503)
    with pytest.raises(TokenAcquisitionError, match="down"):
        keeper.get_token("api", force_refresh=True)
    provider = keeper.health()["providers"]["api"]
    assert provider["refused_by_api"] == 4
    assert "down" in provider["last_error"]


def test_events_without_a_log_line(caplog):
    """An event that is not for the log writes no line."""
    write_log_line(TokenCleared("api", NOW))
    assert caplog.records == []


def test_a_context_without_sniffio(monkeypatch):
    """If sniffio was never imported, the caller's context is copied unchanged."""
    monkeypatch.delitem(sys.modules, "sniffio", raising=False)
    assert callers_context() is not None


def test_a_warning_where_no_thread_is_available(caplog):
    """Where no thread can be had, the warning about dropped events is logged at once."""
    notifier = Notifier([lambda event: None], lambda call: False)
    for _ in range(MAX_PENDING + 1):
        notifier.enqueue(TokenCleared("api", NOW))
    notifier.deliver()
    assert "1 events were dropped" in caplog.text


def test_an_interruption_in_a_hook(interrupt):
    """An exception of a signal handler reaches the caller; it is not a failure of the hook."""
    notifier = Notifier([lambda event: interrupt()], lambda call: False)
    notifier.enqueue(TokenCleared("api", NOW))
    with pytest.raises(SignalError):
        notifier.deliver()


def test_a_provider_that_was_replaced(keeper, source, make_source):
    """Discarding a provider that is no longer registered leaves its successor alone."""
    assert not internals.discard(keeper, make_source())
    assert keeper.list_providers() == ["api"]
