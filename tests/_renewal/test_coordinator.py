"""How callers, rejections and the scheduler begin renewals, and what they get from them."""

from contextvars import Context

import pytest
from kit import internals
from kit.guards import until
from kit.providers import Source

from tokenkeeper import KeeperClosedError, TokenAcquisitionError, TokenKeeper, TokenRejectedError
from tokenkeeper._renewal.rejections import SHORTEST_PAUSE_SECONDS
from tokenkeeper._renewal.renewal import Renewal
from tokenkeeper._renewal.runner import closed_meanwhile

OUTAGE = TokenAcquisitionError("down", status_code=503)


class Replacing(Source):
    """A source that notes which tokens it replaces because an API rejected them."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.replaced = []
        self.failures = 0

    def acquire_token(self):
        if self.failures:
            self.failures -= 1
            raise OUTAGE
        return super().acquire_token()

    def replace_refused_token(self, token):
        self.replaced.append(token.access_token)
        return self.acquire_token()


@pytest.fixture
def source(clock):
    return Replacing(clock=clock)


class TestTokensThatAnApiRejected:
    """The provider is asked to replace a token that an API rejected, not to refresh it."""

    def test_as_reported(self, keeper, source):
        """A renewal that a report starts replaces the token, other renewals refresh it."""
        keeper.renew_refused("api", keeper.get_token("api"))
        assert (source.replaced, source.refreshed) == (["api-1"], [])
        keeper.get_token("api", force_refresh=True)
        assert (source.replaced, source.refreshed) == (["api-1"], ["api-2"])

    def test_while_it_is_kept(self, keeper, source, clock, reject):
        """It is the same after a pause, in which the rejected token is served."""
        assert reject() == "api-4"
        clock.step(SHORTEST_PAUSE_SECONDS)
        assert keeper.renew_refused("api", "api-4") == "api-5"
        assert source.replaced == ["api-1", "api-2", "api-3", "api-4"]
        assert source.refreshed == []

    @pytest.mark.parametrize("begins", ["caller", "scheduler"])
    def test_after_a_failure(self, keeper, source, clock, look, begins):
        """It is the same for the next renewals if the first one failed."""
        token = keeper.get_token("api")
        source.failures = 100
        with pytest.raises(TokenAcquisitionError):
            keeper.renew_refused("api", token)
        assert set(source.replaced) == {"api-1"}
        source.failures = 0
        source.replaced.clear()
        clock.step(60.0)
        if begins == "scheduler":
            assert look(keeper) == ["api"]
        assert keeper.get_token("api") == "api-2"
        assert (source.replaced, source.refreshed) == (["api-1"], [])

    @pytest.mark.parametrize("reported", ["api-4", "api-3"])
    def test_a_caller_waits_for_retries(self, keeper, source, clock, reject, reported):
        """A caller that reports a rejected token waits until a retry brings another one."""
        assert reject() == "api-4"
        with pytest.raises(TokenRejectedError):
            keeper.renew_refused("api", "api-4")
        clock.step(SHORTEST_PAUSE_SECONDS)
        source.failures = 1
        assert keeper.renew_refused("api", reported) == "api-5"


@pytest.mark.parametrize("background", [True, False])
@pytest.mark.parametrize("force", [True, False])
def test_a_renewal_that_never_began(clock, source, background, force):
    """A caller that waited for it gets its error, and causes no request instead."""
    with TokenKeeper(clock=clock, background=background) as keeper:
        keeper.add_provider(source)
        renewal = Renewal(source, None, Context(), after_rejection=False)
        renewal.fail(closed_meanwhile())
        with pytest.raises(KeeperClosedError):
            internals.wait_for(keeper, renewal, internals.need(keeper, force=force))
    assert source.requests == 0


def test_the_scheduler_s_own_thread(clock, source):
    """The scheduler's thread renews what is due, also by a wall clock that ran ahead."""
    with TokenKeeper(clock=clock, jitter=lambda: 0.0) as keeper:
        keeper.add_provider(source)
        keeper.get_token("api")
        clock.step(3241)
        until(lambda: internals.cached(keeper).access_token == "api-2")
        clock.step_wall(7200)

        def is_renewed():
            clock.step(1)  # the thread looks at the clocks every few seconds
            return internals.cached(keeper).access_token == "api-3"

        until(is_renewed, pause=0.02)  # too slow for the token to become due by these steps


class TestProvidersThatChanged:
    """A change of a provider's settings."""

    @pytest.mark.parametrize("background", [True, False])
    def test_without_a_token(self, clock, source, background):
        """Without a token it starts no thread and sends no request."""
        with TokenKeeper(clock=clock, background=background) as keeper:
            keeper.add_provider(source)
            internals.reconsider(keeper)
            assert not internals.scheduler_is_running(keeper)
        assert source.requests == 0

    def test_without_a_background(self, clock, source):
        """No request is made at once without threads, and the token continues to be served."""
        with TokenKeeper(clock=clock, background=False) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
            internals.reconsider(keeper)
            assert keeper.get_token("api") == "api-1"
        assert source.requests == 1
