"""A token's life: fresh, renewing, expired, and the effects of forks and clock changes."""

import logging
import math
from datetime import UTC, datetime

import pytest
from kit import internals

from tokenkeeper import (
    TokenAcquisitionError,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


class TestFresh:
    """More than the buffer is left."""

    def test_first_token_is_fetched_once(self, keeper, source):
        """The first call requests a token, the next ones are served from memory."""
        assert [keeper.get_token("api") for _ in range(3)] == ["api-1"] * 3
        assert source.requests == 1

    def test_to_the_last_tick(self, keeper, source, clock):
        """A token is fresh to the last tick before its buffer, and read without the slow path."""
        keeper.get_token("api")
        stale_at = internals.cached(keeper).stale_at
        clock.step(math.nextafter(stale_at, 0) - clock.monotonic())
        with internals.without_slow_path(keeper):
            assert keeper.get_token("api") == "api-1"


class TestRenewing:
    """Inside the buffer."""

    def test_renewed_ahead_of_the_buffer(self, keeper, source, clock, look):
        """The scheduler renews before the buffer begins; readers find the new token."""
        keeper.get_token("api")
        clock.step(3239.9)
        assert look(keeper) == []
        clock.step(0.2)
        assert look(keeper) == ["api"]
        assert keeper.get_token("api") == "api-2"
        assert source.refreshed == ["api-1"]

    def test_served_while_it_is_renewed(self, keeper, source, clock):
        """Readers inside the buffer get the token immediately, even if its renewal hangs."""
        keeper.get_token("api")
        clock.step(3400)
        source.gate.clear()
        internals.renew(keeper)
        assert source.entered.acquire(timeout=10)
        assert source.entered.acquire(timeout=10)
        assert [keeper.get_token("api") for _ in range(5)] == ["api-1"] * 5
        source.gate.set()

    def test_own_buffer(self, keeper, make_source, clock, look):
        """A provider may have a longer buffer than others."""
        keeper.add_provider(make_source("early", buffer_seconds=1000))
        keeper.get_token("early")
        clock.step(3600 - 1000 - 60)
        assert look(keeper) == ["early"]

    def test_a_failure_is_not_raised(self, keeper, source, clock, look, caplog):
        """A failed renewal is logged, counted and shown; readers get the token."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        assert keeper.get_token("api") == "api-1"
        info = keeper.get_cached_token_info("api")
        assert (info["failures"], info["last_error"]) == (1, "down")
        keeper.close()  # callers don't wait for log lines; this does
        assert "down" in caplog.text

    def test_failures_are_forgotten_once_it_works(self, keeper, source, clock, look):
        """A successful renewal clears the failure."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        source.error = None
        clock.step(1)
        look(keeper)
        info = keeper.get_cached_token_info("api")
        assert (info["failures"], info["last_error"], info["renewals"]) == (0, None, 1)

    def test_tries_again_with_growing_waits(self, keeper, source, clock, look):
        """Each failure makes the wait longer, and there is no retry in the background."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3240)
        waits = []
        for made in range(2, 7):
            look(keeper)
            assert source.requests == made
            waits.append(internals.cached(keeper).renew_at - clock.monotonic())
            clock.step(waits[-1])
        assert waits == pytest.approx([0.25, 0.5, 1, 2, 4])  # half of 0.5 s, doubling: no jitter

    def test_an_outage_shorter_than_the_rest_is_not_noticed(self, keeper, source, clock, look):
        """Callers don't notice an outage that ends before the token expires."""
        keeper.get_token("api")
        clock.step(3240)
        source.error = OUTAGE
        down_until = clock.monotonic() + 330
        while clock.monotonic() < down_until:
            look(keeper)
            assert keeper.get_token("api") == "api-1"
            clock.step(5)
        source.error = None
        clock.step(20)
        look(keeper)
        assert keeper.get_token("api").startswith("api-")
        assert keeper.get_cached_token_info("api")["state"] == "fresh"


class TestExpired:
    """Less than the margin is left, or nothing."""

    @pytest.mark.parametrize(("at", "token"), [(-1, "api-1"), (0, "api-2")])
    def test_to_the_tick(self, keeper, clock, at, token):
        """A token is returned one tick before its margin begins, and not when it has begun."""
        keeper.get_token("api")
        dead_at = internals.cached(keeper).dead_at
        moment = dead_at if at == 0 else math.nextafter(dead_at, 0)
        clock.step(moment - clock.monotonic())
        assert keeper.get_token("api") == token

    def test_callers_wait_for_one_renewal(self, keeper, source, clock, in_thread):
        """Callers with an expired token wait for the one renewal in flight."""
        keeper.get_token("api")
        clock.step(4000)
        source.gate.clear()
        callers = [in_thread(keeper.get_token, "api") for _ in range(16)]
        assert source.entered.acquire(timeout=10)
        source.gate.set()
        for thread, _ in callers:
            thread.join(10)
        assert {tuple(results) for _, results in callers} == {("api-2",)}
        assert source.requests == 2

    def test_short_lives_are_not_renewed_on_every_call(self, keeper, source, clock):
        """A token with a lifetime below the buffer is used for at least half of it."""
        source.lifetime = 60
        keeper.get_token("api")
        clock.step(33)
        assert [keeper.get_token("api") for _ in range(10)] == ["api-1"] * 10

    def test_dead_on_arrival(self, keeper, source, clock):
        """A token that had expired on arrival is an error, and is not cached."""
        source.lifetime = -5
        with pytest.raises(TokenAcquisitionError, match="already expired"):
            keeper.get_token("api")
        assert keeper.get_cached_token_info("api") is None

    def test_one_answer_slower_than_the_token_lives(self, keeper, source, clock, monkeypatch):
        """That error is transient, so it is retried, and no cooldown follows."""
        source.lifetime = 2.0
        grant, delays = source.acquire_token, [2.2]

        def slowly():
            token = grant()
            clock.step(delays.pop() if delays else 0.0)
            return token

        monkeypatch.setattr(source, "acquire_token", slowly)
        assert keeper.get_token("api") == "api-2"
        delays.extend([3.0] * 4)
        keeper.clear_token("api")
        with pytest.raises(TokenAcquisitionError, match="expired before it arrived") as caught:
            keeper.get_token("api")
        assert caught.value.transient is True
        assert caught.value.attempts == 4


class TestClocks:
    """Clocks that jump."""

    @pytest.mark.parametrize("step", [-1e6, -3600, -1, 1, 3600, 1e6])
    def test_a_reader_does_not_look_at_the_wall_clock(self, keeper, clock, step):
        """The read path compares one clock; test_clock_steps.py tests the other."""
        keeper.get_token("api")
        clock.step_wall(step)
        assert keeper.get_token("api") == "api-1"
        clock.step(3595)
        assert keeper.get_token("api") == "api-2"


class TestFork:
    """The state of a child; tests/stress forks for real."""

    def test_renewals_are_planned_anew(self, keeper, source, make_source, clock, look):
        """A child plans a renewal for each valid token, before its buffer, and for no other."""
        keeper.add_provider(make_source("refused"))
        keeper.get_token("refused")
        internals.mark_refused(keeper, "refused")
        keeper.get_token("api")
        internals.after_fork_in_child(keeper, jitter=0.5)
        internals.take_over_scheduler(keeper)
        clock.step(3260)
        assert look(keeper) == []
        clock.step(20)
        assert look(keeper) == ["api"]
        assert keeper.get_token("api") == "api-2"
        assert keeper.get_token("refused") == "refused-2"

    def test_a_wait_after_failures_is_kept(self, keeper, source, clock, look):
        """A child does not advance a renewal that waits after failures."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        clock.step(3301)
        look(keeper)
        internals.after_fork_in_child(keeper, jitter=1.0)
        internals.take_over_scheduler(keeper)
        assert look(keeper) == []
        assert internals.next_due(keeper) == internals.cached(keeper).renew_at

    @pytest.mark.parametrize(("after", "is_planned"), [(3589.5, True), (3590.0, False)])
    def test_an_expired_token_is_not_planned(self, keeper, clock, after, is_planned):
        """A child that inherits an expired token renews it when a caller asks, not before."""
        keeper.get_token("api")
        clock.step(after)
        internals.after_fork_in_child(keeper)
        internals.take_over_scheduler(keeper)
        assert internals.is_scheduled(keeper) is is_planned

    def test_providers_start_over(self, keeper, source, monkeypatch):
        """A child's providers replace what they can't share with the parent."""
        told = []
        monkeypatch.setattr(source, "after_fork_in_child", lambda: told.append("api"))
        internals.after_fork_in_child(keeper)
        internals.take_over_scheduler(keeper)
        assert told == ["api"]


class TestInfo:
    """get_cached_token_info."""

    def test_what_it_tells(self, keeper, clock):
        """It reports a token's state and times, and no secret."""
        assert keeper.get_cached_token_info("api") is None
        keeper.get_token("api")
        clock.step(600)
        info = keeper.get_cached_token_info("api")
        assert datetime.fromisoformat(info.pop("expires_at")).tzinfo is not None
        assert info == {
            "provider_name": "api",
            "token_name": "api",
            "state": "fresh",
            "remaining_seconds": 3000.0,
            "is_expired": False,
            "renews_in_seconds": 2640.0,
            "token_type": "Bearer",
            "scope": "read",
            "renewals": 0,
            "generation": 0,
            "granted_to": None,
            "failures": 0,
            "last_error": None,
        }

    @pytest.mark.parametrize(
        ("after", "state", "expired"),
        [
            (3299, "fresh", False),
            (3301, "renewing", True),
            (3589, "renewing", True),
            (3591, "expired", True),
            (9999, "expired", True),
        ],
    )
    def test_states(self, keeper, clock, after, state, expired):
        """The three states follow each other."""
        keeper.get_token("api")
        clock.step(after)
        info = keeper.get_cached_token_info("api")
        assert (info["state"], info["is_expired"]) == (state, expired)
        assert info["remaining_seconds"] >= 0


class TestLogging:
    """One line for each acquisition and failure, without a secret."""

    def test_lines(self, keeper, source, clock, look, caplog):
        """Acquiring and renewing log one line each; reading logs none."""
        with caplog.at_level(logging.DEBUG, logger="tokenkeeper"):
            for _ in range(10):
                keeper.get_token("api")
            clock.step(3241)
            look(keeper)
            keeper.close()  # callers don't wait for log lines; this does
        assert [record.getMessage() for record in caplog.records] == [
            "provider 'api': token acquired",
            "provider 'api': token renewed",
        ]


def test_dates_are_utc(keeper, clock):
    """The expiry is shown in UTC."""
    keeper.get_token("api")
    shown = datetime.fromisoformat(keeper.get_cached_token_info("api")["expires_at"])
    assert shown.tzinfo == UTC
