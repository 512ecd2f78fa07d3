"""Rare cases of the slow path, each of which no other test covers."""

from datetime import UTC, datetime, timedelta

import pytest
from kit import internals

from tokenkeeper import OAuth2Token, RetryPolicy, TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal.attempt import request_token
from tokenkeeper._renewal.cooldown import Cooldown
from tokenkeeper.testing import SteppedClock

OUTAGE = TokenAcquisitionError("down", status_code=503, transient=True)


def test_each_attempt_has_a_number_of_its_own(keeper, source):
    """A caller that arrives between two attempts of a renewal gets the token of the second."""
    keeper.get_token("api")
    numbers, needs = [], []
    grant = type(source).acquire_token

    def acquire_token():
        numbers.append(internals.flight(keeper).last_sent)
        if len(numbers) == 1:
            needs.append(internals.need(keeper, force=True))
            raise OUTAGE
        return grant(source)

    source.acquire_token = acquire_token
    first = keeper.get_token("api", force_refresh=True)
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 2
    held = internals.ask(keeper, needs[0])
    assert held.access_token == first
    assert numbers[0] < needs[0].asked < held.sent == numbers[1]


@pytest.mark.parametrize(
    ("cooldown_seconds", "retry_after", "stands_for"),
    [
        (0, None, 0.0),
        (1, None, 1.0),
        (2, None, 2.0),
        (30, None, 2.0),
        (0, 1.0, 1.0),
        (1, 0.35, 0.35),
        (30, 0.5, 0.5),
        (30, 20.0, 20.0),
        (30, 0.0, 2.0),
        (30, -5.0, 2.0),
    ],
)
def test_a_short_cooldown_is_not_made_longer(cooldown_seconds, retry_after, stands_for):
    """A transient failure's cooldown is no longer than the user or the server asks for."""
    cooldown = Cooldown(cooldown_seconds, RetryPolicy(), SteppedClock())
    error = TokenAcquisitionError("busy", transient=True, retry_after=retry_after)
    assert cooldown.note("api", error) == stands_for


@pytest.mark.parametrize(("cooldown_seconds", "requests"), [(0, 10), (1, 5), (30, 3)])
def test_cooldowns_of_a_failure_that_may_pass(source, clock, cooldown_seconds, requests):
    """Callers half a second apart cause a request every second, or every two seconds."""
    source.retry = RetryPolicy(attempts=1)
    source.error = OUTAGE
    with TokenKeeper(clock=clock, cooldown_seconds=cooldown_seconds) as keeper:
        keeper.add_provider(source)
        for _ in range(10):
            with pytest.raises(TokenAcquisitionError, match="down"):
                keeper.get_token("api")
            clock.step(0.5)
    assert source.requests == requests


def test_a_reader_renews_after_going_inline(keeper, source, clock):
    """Inside the buffer, once the threads have ended, the first reader renews inline."""
    keeper.get_token("api")
    internals.release_scheduler(keeper)
    internals.go_inline(keeper)
    clock.step(3400)
    cached = internals.cached(keeper)
    assert cached.stale_at < clock.monotonic() < cached.dead_at
    assert keeper.get_token("api") == "api-2"
    assert source.requests == 2


@pytest.mark.parametrize("ask", ["first", "forced", "refused"])
def test_a_caller_that_returns_finds_all_in_place(source, clock, ask):
    """When a caller gets its token, the token is cached and the scheduler runs."""
    seen = []

    def state(keeper, cached):
        return internals.cached(keeper) is cached, internals.scheduler_is_running(keeper)

    class Keeper(internals.WaitObserved, TokenKeeper):
        def after_wait(self, cached):
            seen.append(state(self, cached))

    with Keeper(clock=clock, jitter=lambda: 0.0) as keeper:
        keeper.add_provider(source)
        at_success = []

        def observe(flight, cached):
            succeed = flight.succeed
            flight.succeed = lambda result: (
                at_success.append(state(keeper, cached)),
                succeed(result),
            )

        with internals.before_completion(keeper, observe):
            token = keeper.get_token("api")
            if ask == "forced":
                keeper.get_token("api", force_refresh=True)
            if ask == "refused":
                keeper.renew_refused("api", token)
    assert set(at_success) == set(seen) == {(True, True)}


@pytest.mark.parametrize(
    ("step", "ends", "transient"),
    [
        (0.0, -60.0, False),  # the provider's own mistake
        (-3600.0, 3600.0, True),  # the provider read the clock before it was set back ...
        (3600.0, 3600.0, True),  # ... or forward, and the token seems to have expired
        (-7200.0, -60.0, True),
        (0.9, -60.0, False),
    ],
)
def test_a_clock_step_that_makes_the_lifetime_negative(make_source, step, ends, transient):
    """A token that arrives expired because the clock was set meanwhile is a transient failure."""
    clock = SteppedClock()
    source = make_source(lifetime=ends)

    def acquire_token():
        before = clock.time()
        clock.step_wall(step)
        clock.step(1.0)
        seen = min(before, clock.time()) if step > 0 else before - 2 * abs(step)
        ends_at = datetime.fromtimestamp(seen, UTC) + timedelta(seconds=ends)
        return OAuth2Token("late", "Bearer", ends_at)

    source.acquire_token = acquire_token
    with pytest.raises(TokenAcquisitionError, match="expired") as caught:
        request_token(source, None, sent=1, clock=clock, jitter=lambda: 0.0)
    assert caught.value.transient is transient


@pytest.mark.parametrize("own", [True, False])
def test_a_provider_s_own_policy_in_background_waits(make_source, clock, look, own):
    """After a failure the scheduler waits as the provider's own policy says."""
    policy = RetryPolicy(initial_wait_seconds=7.0, background_wait_seconds=7.0)
    other = RetryPolicy(initial_wait_seconds=3.0, background_wait_seconds=3.0)
    source = make_source(retry=policy if own else None)
    keeper = TokenKeeper(clock=clock, jitter=lambda: 1.0, retry=other)
    internals.take_over_scheduler(keeper)
    keeper.add_provider(source)
    keeper.get_token("api")
    source.error = OUTAGE
    clock.step(3200)
    assert look(keeper) == ["api"]
    wait = internals.cached(keeper).renew_at - clock.monotonic()
    internals.release_scheduler(keeper)
    keeper.close()
    assert wait == (7.0 if own else 3.0)
