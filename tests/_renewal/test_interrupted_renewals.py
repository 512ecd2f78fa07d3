"""Exceptions that a host throws into a thread while a renewal runs there."""

from contextvars import Context
from unittest import mock

import pytest
from kit import internals

from tokenkeeper import KeeperClosedError, TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.runner import Outcome
from tokenkeeper.events import TokenAcquired
from tokenkeeper.testing import EventRecorder

OUTAGE = TokenAcquisitionError("down", status_code=503)


class SlowTaskError(TimeoutError):
    """A host's exception, of a class that is worth a retry if a provider raises it."""


class StopError(BaseException):
    """A host's exception that is not an :class:`Exception`."""


@pytest.fixture
def interrupt(interrupt_with):
    """Return a function that raises an exception in the main thread from a signal handler."""
    return interrupt_with(SlowTaskError)


@pytest.fixture
def inline(clock, source):
    """Return a keeper that renews on the threads of its callers."""
    with TokenKeeper(clock=clock, background=False, jitter=lambda: 0.0) as keeper:
        keeper.add_provider(source)
        yield keeper


def while_handling(error, call):
    """Make *call* as the handler of *error*, which a context manager can't do."""
    try:
        raise error
    except type(error):
        return call()


class TestOnACallersThread:
    """Renewals of a keeper without threads."""

    def test_during_a_request(self, inline, source, interrupt):
        """The exception reaches the caller, and the request is not repeated."""
        source.acquire_token = mock.Mock(side_effect=interrupt)
        with pytest.raises(SlowTaskError):
            inline.get_token("api")
        assert source.acquire_token.call_count == 1

    def test_between_two_requests(self, inline, source, interrupt, clock, monkeypatch):
        """The exception reaches the caller, and not the error of the first request."""
        source.error = OUTAGE
        monkeypatch.setattr(clock, "wait", interrupt)
        with pytest.raises(SlowTaskError):
            inline.get_token("api")

    def test_during_the_request_after_a_rejected_token(self, inline, source, interrupt):
        """It is the same for the request that follows when the rejected token was granted again."""
        token = inline.get_token("api")
        grant = source.acquire_token

        def same():
            object.__setattr__(granted := grant(), "access_token", token)
            return granted

        def interrupted():
            later.append(interrupt)
            interrupt()

        later = []
        answers = iter([same, interrupted, same])
        source.acquire_token = lambda: next(answers)()
        with pytest.raises(SlowTaskError):
            inline.renew_refused("api", token)
        assert len(later) == 1

    def test_while_the_outcome_is_noted(self, inline, interrupt):
        """The exception reaches the caller, and no renewal stays under way."""
        with internals.before_completion(inline, interrupt), pytest.raises(SlowTaskError):
            inline.get_token("api")
        assert not internals.flights(inline)

    def test_a_provider_that_fails_for_a_caller_that_handles_one(self, inline, source):
        """A provider's error is not mistaken for the exception that its caller is handling."""
        source.error = ValueError()
        with pytest.raises(TokenAcquisitionError, match="raised ValueError"):
            while_handling(StopError(), lambda: inline.get_token("api"))

    def test_a_failure_at_the_end_for_a_caller_that_handles_one(self, inline):
        """An error while the outcome is noted is not mistaken for it either."""
        with (
            internals.before_completion(inline, mock.Mock(side_effect=ValueError)),
            pytest.raises(TokenAcquisitionError, match="raised ValueError"),
        ):
            while_handling(StopError(), lambda: inline.get_token("api"))


class TestOnAWorker:
    """Renewals on the keeper's own threads, which no host interrupts."""

    def test_an_error_with_an_interruption_as_its_cause(self, keeper, source):
        """It is an error like any other: callers get it, and it is reported."""
        recorder = EventRecorder()
        keeper.add_hook(recorder)
        source.error = ValueError()
        source.error.__cause__ = StopError()
        with pytest.raises(TokenAcquisitionError, match="raised ValueError"):
            keeper.get_token("api")
        keeper.close()
        assert [type(each).__name__ for each in recorder.events][:1] == ["AcquisitionFailed"]

    def test_the_end_of_the_process(self, keeper, source):
        """A provider that exits causes no event, as that says nothing about the token."""
        recorder = EventRecorder()
        keeper.add_hook(recorder)
        source.error = SystemExit(3)
        with pytest.raises(TokenAcquisitionError, match="SystemExit"):
            keeper.get_token("api")
        source.error = None
        keeper.get_token("api")
        keeper.close()
        assert [type(each) for each in recorder.events] == [TokenAcquired]


@pytest.mark.parametrize(
    ("error", "inline", "is_interruption"),
    [
        (StopError(), True, True),
        (StopError(), False, True),
        (ValueError(), True, False),
        (ValueError(), False, False),
    ],
)
def test_outcomes(source, error, inline, is_interruption):
    """What is not an ``Exception`` is raised again on the thread where it was raised."""
    renewal = Renewal(source, None, Context(), after_rejection=False)
    outcome = Outcome.of_error(error, renewal, inline=inline, handled_before=None)
    assert outcome.interruption is (error if is_interruption else None)
    assert outcome.result.__cause__ is error


class TestBeforeTheStart:
    """A renewal whose starting thread is interrupted before a worker has it."""

    @pytest.fixture
    def strike(self, monkeypatch):
        """Interrupt the first start; let the host refuse threads for the second, if asked to."""

        def strike(keeper, *, refuse=False):
            background = internals.background(keeper)
            work, started = background.work, []

            def struck(job, *, urgent, nested=False):
                started.append(urgent)
                if len(started) == 1:
                    raise StopError
                return not refuse and work(job, urgent=urgent)

            monkeypatch.setattr(background, "work", struck)
            return started

        return strike

    def start(self, keeper, clock, begins):
        """Have the caller or the scheduler begin a renewal of a token that expired."""
        keeper.get_token("api")
        clock.step(3600)
        if begins == "caller":
            return lambda: keeper.get_token("api")
        return lambda: internals.renew(keeper)

    @pytest.mark.parametrize(("begins", "urgent"), [("caller", True), ("scheduler", False)])
    def test_a_worker_takes_over(self, keeper, clock, strike, begins, urgent):
        """A worker makes the renewal before all others, as callers may be waiting for it."""
        start = self.start(keeper, clock, begins)
        started = strike(keeper)
        with pytest.raises(StopError):
            start()
        assert started == [urgent, True]
        assert keeper.get_token("api") == "api-2"

    @pytest.mark.parametrize("begins", ["caller", "scheduler"])
    def test_without_a_worker(self, keeper, clock, monkeypatch, strike, begins):
        """Without one, callers that wait get an error that names the provider and the cause."""
        start = self.start(keeper, clock, begins)
        strike(keeper, refuse=True)
        seen = []
        attach = internals.state(keeper).attach
        monkeypatch.setattr(
            internals.state(keeper), "attach", lambda each: (seen.append(each), attach(each))
        )
        with pytest.raises(StopError):
            start()
        (renewal,) = seen
        assert renewal.interrupted
        with pytest.raises(TokenAcquisitionError, match="provider 'api' raised StopError"):
            renewal.result()


def test_a_renewal_that_comes_to_a_worker_too_late(keeper, source, monkeypatch):
    """A renewal that did not begin before the keeper closed fails, and makes no request."""
    jobs = []
    background = internals.background(keeper)
    monkeypatch.setattr(background, "work", lambda job, **_: not jobs.append(job))
    flight = internals.ask(keeper, internals.need(keeper))
    background.closing.set()
    (job,) = jobs
    job()
    assert source.requests == 0
    with pytest.raises(KeeperClosedError, match="closed while this token was requested"):
        flight.result()
