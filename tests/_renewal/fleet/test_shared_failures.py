"""Fail: a refusal, a Retry-After and a growing pause are shared by the fleet."""

from dataclasses import replace

import pytest
from kit import internals
from kit.crowds import crowd
from kit.guards import until
from kit.stores import renew_when_due

from tokenkeeper import RetryPolicy, TokenAcquisitionError, TokenRefreshError
from tokenkeeper.events import AcquisitionFailed

ONCE = RetryPolicy(attempts=1)


def wrong_secret():
    """Return the refusal of a client whose secret is wrong."""
    return TokenAcquisitionError(
        "wrong secret", error="invalid_client", status_code=401, error_description="no such client"
    )


def outage(**details):
    """Return the error of a server that is down."""
    return TokenAcquisitionError("down", status_code=503, **details)


def error_of(keeper, **options):
    """Return the error of a caller."""
    with pytest.raises(TokenAcquisitionError) as caught:
        keeper.get_token("api", **options)
    return caught.value


class TestRefusals:
    """A final refusal."""

    def test_one_request(self, fleet, server):
        """A wrong secret in 64 processes is one request."""
        server.error = wrong_secret()
        errors = [error_of(keeper) for keeper in fleet.several(64)]
        assert server.requests == 1
        assert {str(error) for error in errors} == {"wrong secret"}

    def test_in_the_words_of_the_server(self, fleet, server):
        """Other processes get the error with its code, description and status."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        error_of(first)
        error = error_of(second)
        assert (error.error, error.status_code) == ("invalid_client", 401)
        assert error.error_description == "no such client"
        assert error.provider_name == "api"
        assert not error.transient

    def test_all_at_once(self, threaded, patient):
        """Processes that meet it at the same moment make one request, too."""
        threaded.server.error = wrong_secret()
        keepers = iter(threaded.several(16, threads=True))
        callers = crowd(16, lambda: next(keepers).get_token("api"))
        until(lambda: patient.step(0.02) or all(callers.results), "sixteen errors")
        assert {str(error) for error in callers.join()} == {"wrong secret"}
        assert threaded.server.requests == 1

    def test_between_look_and_claim(self, fleet, clock, store, server):
        """A failure that is shared after the look, and before the claim, spares the request."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        store.before["claim"] = lambda: error_of(second)
        assert str(error_of(first)) == "wrong secret"
        assert server.requests == 1
        assert not store.record.is_claimed

    def test_stands_for_the_cooldown(self, fleet, clock, server):
        """After the cooldown one process asks again, to the tick."""
        server.error = wrong_secret()
        first, second, third = fleet.several(3)
        error_of(first)
        clock.step(29.9)
        error_of(second)
        assert server.requests == 1
        clock.step(0.1)
        error_of(second)
        error_of(third)
        assert server.requests == 2

    def test_cooldown_of_the_fleet_ends_for_all(self, fleet, clock, server):
        """A process that learned of a refusal late does not hold it longer than the others."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        error_of(first)
        clock.step(29)
        error_of(second)
        server.error = None
        clock.step(1)
        assert second.get_token("api") == "token-2"

    def test_success_ends_it(self, fleet, clock, server):
        """A token that is granted in spite of it serves all at once."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        error_of(first)
        server.error = None
        clock.step(1)
        assert first.get_token("api", force_refresh=True) == "token-2"
        assert second.get_token("api") == "token-2"

    def test_other_tokens_are_not_concerned(self, fleet, clock, server):
        """A valid token is served whatever failed meanwhile."""
        first, second = fleet.several(2)
        first.get_token("api")
        second.get_token("api")
        server.error = wrong_secret()
        renew_when_due(first, clock)
        internals.look(second)
        assert second.get_token("api") == "token-1"
        assert server.requests == 2
        assert second.health()["status"] == "degraded"
        clock.step(400)
        assert isinstance(error_of(second), TokenRefreshError)

    def test_is_an_event_without_an_attempt(self, fleet, server):
        """For a process that was spared the request, the failure has 0 attempts."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        error_of(first)
        error_of(second)
        (event,) = [e for e in second.events.events if isinstance(e, AcquisitionFailed)]
        assert (event.attempts, event.error) == (0, "invalid_client")

    def test_unreadable_failure(self, fleet, store, server):
        """A failure that can't be read spares no one a request."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        error_of(first)
        store.entry.failure = b"garbage"
        server.error = None
        assert second.get_token("api") == "token-2"

    def test_store_that_steps_back(self, fleet, clock, store, server):
        """A failure from the future, by a store that was set back, spares no one a request."""
        server.error = wrong_secret()
        first, second = fleet.several(2)
        error_of(first)
        store.distort = lambda record: replace(
            record, failure=record.failure and replace(record.failure, age_seconds=-3600.0)
        )
        server.error = None
        assert second.get_token("api") == "token-2"


class TestRetryAfter:
    """What the server asked to wait."""

    def test_is_shared(self, fleet, clock, server):
        """No process asks again before the time that the server named to one of them."""
        server.error = outage(retry_after=20)
        keepers = fleet.several(8, retry=ONCE)
        error_of(keepers[0])
        clock.step(5)
        assert [error_of(keeper).retry_after for keeper in keepers[1:]] == [15.0] * 7
        clock.step(14.9)
        for keeper in keepers:
            error_of(keeper)
        assert server.requests == 1
        server.error = None
        clock.step(0.1)
        assert {keeper.get_token("api") for keeper in keepers} == {"token-2"}

    def test_with_a_refusal(self, fleet, clock, server):
        """A refusal with a longer Retry-After than the cooldown stands that long."""
        server.error = TokenAcquisitionError(
            "no", error="invalid_client", retry_after=50, transient=False
        )
        first, second = fleet.several(2)
        error_of(first)
        clock.step(49)
        error_of(second)
        assert server.requests == 1


class TestTransient:
    """Failures that may pass."""

    def test_own_single_failure_does_not_bar_the_retry(self, fleet, server, clock):
        """The retry policy alone decides when the process that failed once asks again."""
        keeper = fleet.keeper(retry=RetryPolicy(attempts=2))
        server.error = outage()

        def recover():
            server.error = None

        fleet.store.after["fail"] = recover
        assert keeper.get_token("api") == "token-2"

    def test_bars_the_others_for_a_moment(self, fleet, clock, server):
        """Others are spared a request for the retry policy's first wait."""
        first, second = fleet.several(2, retry=ONCE)
        server.error = outage()
        error_of(first)
        clock.step(0.49)
        assert error_of(second).transient
        assert server.requests == 1
        clock.step(0.02)
        error_of(second)
        assert server.requests == 2

    def test_pause_grows_to_five_seconds(self, fleet, clock, server):
        """Each further failure of the fleet doubles the pause, up to 5 s."""
        keepers = fleet.several(9, retry=ONCE, cooldown_seconds=0.0)
        server.error = outage()
        pauses = []
        for keeper in keepers:
            requests, began = server.requests, clock.monotonic()
            while server.requests == requests:
                error_of(keeper)
                clock.step(0.1)
            pauses.append(clock.monotonic() - began)
        assert pauses[1:5] == pytest.approx([0.5, 1, 2, 4], abs=0.2)
        assert pauses[5:] == pytest.approx([5] * 4, abs=0.2)

    def test_outage_of_ten_seconds(self, fleet, clock, server):
        """A server that is down for 10 s gets few requests from sixteen processes."""
        keepers = fleet.several(16, retry=ONCE)
        server.error = outage()
        ends = clock.monotonic() + 10
        while clock.monotonic() < ends:
            for keeper in keepers:
                error_of(keeper)
            clock.step(0.05)
        assert server.requests <= 12
        server.error = None
        clock.step(5)
        assert {keeper.get_token("api") for keeper in keepers} == {f"token-{server.requests}"}

    def test_of_another_class(self, fleet, server, clock):
        """A connection error of any class is shared as what the caller sees."""
        server.error = ConnectionError("secret-in-a-url")
        first, second = fleet.several(2, retry=ONCE)
        error_of(first)
        error = error_of(second)
        assert error.transient
        assert "secret" not in str(error)
        assert server.requests == 1


class TestNotShared:
    """What says nothing about the token."""

    @pytest.mark.parametrize("struck", [KeyboardInterrupt(), SystemExit(1)])
    def test_end_of_a_thread(self, fleet, store, server, struck):
        """An interruption releases the claim, and leaves no failure."""
        server.error = struck
        keeper, other = fleet.several(2, background=False)
        with pytest.raises(type(struck)):
            keeper.get_token("api")
        assert not store.record.is_claimed
        assert store.record.failure is None
        server.error = None
        assert other.get_token("api") == "token-2"

    def test_closed_keeper(self, fleet, store, server):
        """A keeper that is closed in mid-request leaves no failure to the others."""
        keeper, other = fleet.several(2)
        inner = fleet.several(1)[0]
        inner.close()

        class Closed(type(internals.provider(other))):
            def acquire_token(self):
                return inner.get_token("api")

        nested = fleet.keeper(provider=Closed(server))
        with pytest.raises(Exception, match="closed"):
            nested.get_token("api")
        assert store.record.failure is None
        assert keeper.get_token("api") == "token-1"
