"""What a keeper's state says of rejected tokens, and which events it reports."""

from contextvars import Context
from datetime import UTC, datetime

import pytest
from kit import internals

from tokenkeeper import TokenKeeper, TokenRejectedError
from tokenkeeper._renewal.rejections import QUICK_RENEWALS, SHORTEST_PAUSE_SECONDS
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper.events import TokenRefused, TokenRejected
from tokenkeeper.testing import EventRecorder


@pytest.fixture
def paused(keeper, reject):
    """Begin a pause; return the token that was rejected last and is still served."""
    token = reject()
    with pytest.raises(TokenRejectedError):
        keeper.renew_refused("api", token)
    return token


class TestWouldReject:
    """Whether a rejection would raise at once instead of starting a renewal."""

    def test_without_a_token(self, keeper):
        """Without a token it would not."""
        assert not internals.state(keeper).would_reject("api", "api-1")

    def test_before_a_pause(self, keeper, reject):
        """It would not while rejections still start renewals."""
        assert not internals.state(keeper).would_reject("api", keeper.get_token("api"))
        keeper.renew_refused("api", keeper.get_token("api"))
        assert not internals.state(keeper).would_reject("api", keeper.get_token("api"))

    def test_in_a_pause(self, keeper, paused):
        """It would in a pause, whichever token is reported, as the current one was rejected too."""
        assert internals.state(keeper).would_reject("api", paused)
        assert internals.state(keeper).would_reject("api", "an older one")

    def test_after_a_pause(self, keeper, clock, paused):
        """It would until the last tick of the pause, and not later."""
        clock.step(internals.rejection_pause(keeper))
        assert not internals.state(keeper).would_reject("api", paused)

    def test_a_token_that_no_api_rejected(self, keeper, reject):
        """In a pause, it would for the current token, and not for one that was replaced."""
        current = reject()
        assert internals.state(keeper).would_reject("api", current)
        assert not internals.state(keeper).would_reject("api", "an older one")

    def test_a_renewal_under_way(self, keeper, source, paused):
        """It would not while a renewal is under way, because the caller can wait for it."""
        source.gate.clear()
        flight = internals.ask(keeper, internals.need(keeper, force=True))
        assert not internals.state(keeper).would_reject("api", paused)
        source.gate.set()
        assert flight.wait(10)
        assert not internals.state(keeper).would_reject("api", "an older one")


class TestReportedRejections:
    """Which events a rejection causes."""

    def test_the_first_report(self, clock, keeper):
        """Only the first report of a token causes an event, with the provider and the time."""
        recorder = EventRecorder()
        keeper.add_hook(recorder)
        token = keeper.get_token("api")
        for _ in range(3):
            keeper.renew_refused("api", token)
        keeper.close()
        refused = [each for each in recorder.events if isinstance(each, TokenRefused)]
        assert refused == [TokenRefused("api", datetime.fromtimestamp(clock.time(), UTC))]

    def test_a_report_without_a_renewal(self, clock, source):
        """The events of a report are delivered at once, although no renewal follows from it."""
        events = []
        with TokenKeeper(clock=clock, background=False, hooks=[events.append]) as keeper:
            keeper.add_provider(source)
            token = keeper.get_token("api")
            for _ in range(QUICK_RENEWALS):
                token = keeper.renew_refused("api", token)
            events.clear()
            with pytest.raises(TokenRejectedError):
                keeper.renew_refused("api", token)
            assert [type(each) for each in events] == [TokenRefused, TokenRejected]

    @pytest.mark.parametrize("reported", ["api-4", "api-3"])
    def test_a_crowd_while_a_token_is_kept(self, keeper, source, clock, reject, reported):
        """While a renewal is under way for a rejected token, further reports cause no event."""
        assert reject() == "api-4"
        clock.step(SHORTEST_PAUSE_SECONDS)
        recorder = EventRecorder()
        keeper.add_hook(recorder)
        source.gate.clear()
        flight = internals.ask(keeper, internals.need(keeper, refused="api-4"))
        assert internals.ask(keeper, internals.need(keeper, refused=reported)) is flight
        source.gate.set()
        assert flight.wait(10)
        keeper.close()
        assert not [each for each in recorder.events if isinstance(each, TokenRejected)]


@pytest.mark.parametrize("after_rejection", [True, False])
@pytest.mark.parametrize("is_refused", [True, False])
def test_one_report_counts(keeper, source, is_refused, after_rejection):
    """A report is only noted if the token still counts as good, and no renewal replaces it."""
    keeper.get_token("api")
    cached = internals.cached(keeper)
    renewal = Renewal(source, cached, Context(), after_rejection=after_rejection)
    if is_refused:
        cached = cached.after_refusal()
    now, error = internals.state(keeper).note_rejection("api", cached, renewal)
    assert error is None
    assert now.is_refused is (is_refused or not after_rejection)
    is_noted = not is_refused and not after_rejection
    assert bool(internals.remembered_rejections(keeper)) is is_noted


def test_is_closed(keeper):
    """A keeper is open until it is closed."""
    assert keeper.is_closed is False
    keeper.close()
    assert keeper.is_closed is True
