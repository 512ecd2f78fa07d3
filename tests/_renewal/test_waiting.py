"""Callers that need a new token, another one, one in time, or any."""

import pytest
from kit import internals

from tokenkeeper import (
    InvalidConfigurationError,
    RetryPolicy,
    TokenAcquisitionError,
    TokenRefreshError,
    TokenRejectedError,
    TokenWaitTimeoutError,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


def _same(source, grant):
    number = source.requests
    token = grant()
    object.__setattr__(token, "access_token", "same")
    assert source.requests == number + 1
    return token


class TestForce:
    """force_refresh=True."""

    def test_fetches_though_the_token_is_fresh(self, keeper, source):
        """A forced renewal asks the server; later readers get its token."""
        keeper.get_token("api")
        assert keeper.get_token("api", force_refresh=True) == "api-2"
        assert keeper.get_token("api") == "api-2"

    def test_does_not_take_what_was_asked_for_earlier(self, keeper, source, in_thread):
        """A request that was sent before the call is waited for, and then a new one is made."""
        keeper.get_token("api")
        source.gate.clear()
        first, first_got = in_thread(keeper.get_token, "api", True)
        assert source.entered.acquire(timeout=10)
        assert source.entered.acquire(timeout=10)
        need = internals.need(keeper, force=True)
        flight = internals.ask(keeper, need)
        source.gate.set()
        first.join(10)
        assert first_got == ["api-2"]
        assert internals.wait_for(keeper, flight, need).access_token == "api-3"

    def test_an_earlier_failure_is_not_its_own(self, keeper, source, in_thread):
        """A request that was sent before the call and fails does not fail the call."""
        keeper.get_token("api")
        source.gate.clear()
        source.error = WRONG_SECRET
        first, first_got = in_thread(keeper.get_token, "api", True)
        assert source.entered.acquire(timeout=10)
        assert source.entered.acquire(timeout=10)
        need = internals.need(keeper, force=True)
        flight = internals.ask(keeper, need)
        source.gate.set()
        first.join(10)
        assert isinstance(first_got[0], TokenAcquisitionError)
        source.error = None
        assert internals.wait_for(keeper, flight, need).access_token == "api-3"

    def test_failure_leaves_the_token(self, keeper, source):
        """A forced renewal that fails is an error for its caller only."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        with pytest.raises(TokenRefreshError, match="wrong secret"):
            keeper.get_token("api", force_refresh=True)
        assert keeper.get_token("api") == "api-1"

    def test_goes_through_the_cooldown(self, keeper, source):
        """A forced renewal asks the server even after a refusal."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        source.error = None
        assert keeper.get_token("api", force_refresh=True) == "api-2"
        assert keeper.get_token("api") == "api-2"

    def test_ends_the_cooldown(self, keeper, source, clock):
        """A granted token ends the cooldown of an earlier refusal."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        source.error = None
        source.lifetime = 4
        keeper.get_token("api", force_refresh=True)
        clock.step(5)
        assert keeper.get_token("api") == "api-3"


class TestRefused:
    """An API answered 401."""

    def test_many_callers_cause_one_renewal(self, keeper, source):
        """Callers that report the same rejected token share one renewal."""
        refused = keeper.get_token("api")
        assert {keeper.renew_refused("api", refused) for _ in range(100)} == {"api-2"}
        assert source.requests == 2

    def test_a_refused_token_is_not_used_again(self, keeper, source):
        """A rejected token is not handed out again before its expiry."""
        refused = keeper.get_token("api")
        source.error = WRONG_SECRET
        with pytest.raises(TokenRefreshError):
            keeper.renew_refused("api", refused)
        with pytest.raises(TokenRefreshError):
            keeper.get_token("api")
        assert keeper.get_cached_token_info("api")["state"] == "expired"
        assert source.requests == 2

    def test_an_old_token_causes_no_request(self, keeper, source):
        """A caller that reports a token which is already replaced gets the new one."""
        old = keeper.get_token("api")
        keeper.get_token("api", force_refresh=True)
        assert keeper.renew_refused("api", old) == "api-2"
        assert source.requests == 2

    def test_a_server_that_grants_the_same_again(self, keeper, source):
        """A server that grants the rejected token again is asked twice, and then it is an error."""
        source.acquire_token = lambda grant=source.acquire_token: _same(source, grant)
        refused = keeper.get_token("api")
        with pytest.raises(TokenRejectedError, match="granted the same token again"):
            keeper.renew_refused("api", refused)
        assert source.requests == 3
        assert keeper.get_token("api") == refused


class TestFailure:
    """There is no valid token, and the server refuses."""

    def test_cooldown(self, keeper, source, clock):
        """A refusal lasts for the cooldown and costs one request, however many callers ask."""
        source.error = WRONG_SECRET
        seen = []
        for _ in range(2000):
            with pytest.raises(TokenAcquisitionError, match="wrong secret") as caught:
                keeper.get_token("api")
            seen.append(caught.value)
        assert source.requests == 1
        assert len({id(error) for error in seen}) == 2000
        clock.step(29.999)
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        assert source.requests == 1
        source.error = None
        clock.step(0.002)
        assert keeper.get_token("api") == "api-2"

    def test_transient_failures_are_retried(self, keeper, source):
        """A caller without a token gets one as soon as the server is back."""
        failures = [OUTAGE, OUTAGE, None]
        acquire = source.acquire_token

        def fail_twice():
            source.error = failures.pop(0)
            return acquire()

        source.acquire_token = fail_twice
        assert keeper.get_token("api") == "api-3"

    def test_retries_end(self, keeper, source):
        """After the policy's attempts an error is raised, with their number."""
        source.error = OUTAGE
        source.retry = RetryPolicy(attempts=3)
        with pytest.raises(TokenAcquisitionError) as caught:
            keeper.get_token("api")
        assert (caught.value.attempts, source.requests) == (3, 3)

    def test_an_error_after_expiry_is_a_refresh_error(self, keeper, source, clock):
        """An error for a token that is to be replaced is a TokenRefreshError."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        clock.step(4000)
        with pytest.raises(TokenRefreshError) as caught:
            keeper.get_token("api")
        assert caught.value.error == "invalid_client"

    def test_the_background_recovers_from_an_outage(self, keeper, source, clock, look):
        """After an outage longer than the lifetime, a token is requested in the background."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(4000)
        assert look(keeper) == ["api"]
        with pytest.raises(TokenRefreshError):
            keeper.get_token("api")
        source.error = None
        clock.step(60)
        assert look(keeper) == ["api"]
        made = source.requests
        assert keeper.get_token("api") == f"api-{made}"

    def test_the_background_does_not_repeat_a_refusal(self, keeper, source, clock, look):
        """A refused secret is not tried again in the background while there is no valid token."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        clock.step(4000)
        look(keeper)
        made = source.requests
        clock.step(4000)
        assert look(keeper) == []
        assert source.requests == made

    def test_a_foreign_error_is_wrapped(self, keeper, source):
        """A bug in a provider is raised as a TokenAcquisitionError, with its cause."""
        source.error = ZeroDivisionError("at line 7")
        with pytest.raises(TokenAcquisitionError, match="ZeroDivisionError") as caught:
            keeper.get_token("api")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.provider_name == "api"

    def test_a_configuration_error_comes_out_as_it_is(self, keeper, source):
        """A provider may raise a configuration error at its first use."""
        source.error = InvalidConfigurationError("no such tenant", field="tenant_id")
        with pytest.raises(InvalidConfigurationError, match="no such tenant"):
            keeper.get_token("api")

    def test_no_token_at_all(self, keeper, source):
        """A provider must return a token."""
        source.acquire_token = lambda: "a bare string"
        with pytest.raises(
            TokenAcquisitionError, match=r"returned str\. It must return an OAuth2Token"
        ):
            keeper.get_token("api")

    def test_a_provider_that_asks_for_its_own_token(self, keeper, source):
        """A provider that needs its own token to request it gets an error, not a deadlock."""
        source.acquire_token = lambda: keeper.get_token("api")
        with pytest.raises(TokenAcquisitionError, match="its own token"):
            keeper.get_token("api")

    def test_an_async_provider_that_blocks_its_loop(self, keeper, source, make_source):
        """An async provider that calls the blocking front gets an error, not a deadlock."""
        outer = make_source("outer")

        async def acquire():
            return keeper.get_token("api")

        outer.acquire_token = acquire
        keeper.add_provider(outer)
        with pytest.raises(TokenAcquisitionError, match="must not block"):
            keeper.get_token("outer")


class TestTimeout:
    """A caller's own timeout."""

    def test_the_request_continues_after_the_timeout(self, keeper, source):
        """A caller whose timeout ends gets a clear error; the next one gets the token."""
        source.gate.clear()
        with pytest.raises(TokenWaitTimeoutError, match="within the timeout") as caught:
            keeper.get_token("api", timeout=0)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.provider_name == "api"
        source.gate.set()
        assert keeper.get_token("api", timeout=20) == "api-1"
        assert source.requests == 1

    @pytest.mark.parametrize("timeout", [1e12, 1e300, float("inf")])
    def test_as_long_as_it_takes(self, keeper, source, in_thread, timeout):
        """A timeout of 30,000 years is as good as none."""
        source.gate.clear()
        thread, got = in_thread(keeper.get_token, "api", False, timeout)
        assert source.entered.acquire(timeout=10)
        source.gate.set()
        thread.join(10)
        assert got == ["api-1"]

    def test_no_wait_no_timeout(self, keeper):
        """With a valid token the timeout does not matter."""
        keeper.get_token("api")
        assert keeper.get_token("api", False, 0) == "api-1"

    def test_no_retry_beyond_the_deadline(self, keeper, source):
        """A caller gets the real error immediately if no retry would end in time."""
        source.error = TokenAcquisitionError("busy", status_code=429, retry_after=50)
        with pytest.raises(TokenAcquisitionError, match="busy"):
            keeper.get_token("api", timeout=40)
        assert source.requests == 1
