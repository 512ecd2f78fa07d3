"""A keeper whose wall clock and monotonic clock diverge."""

from datetime import datetime

import pytest
from kit import internals

from tokenkeeper import TokenAcquisitionError, TokenKeeper
from tokenkeeper._renewal.cached_token import SPREAD_AFTER_STEP_SECONDS
from tokenkeeper._runtime.clock_steps import ClockStep, ClockSteps
from tokenkeeper.clock import Instant, instant
from tokenkeeper.testing import SteppedClock

BUFFER_BEGINS, DEAD, ENDS = 3300.0, 3590.0, 3600.0
"""The deadlines of a one-hour token, without jitter."""

STEPS = {
    # name: (wall, monotonic, seconds that then pass on both, token, state shown meanwhile)
    "nothing": (0, 0, 0, "api-1", "fresh"),
    "a pause of two hours": (7200, 0, 0, "api-2", "expired"),
    "a pause of thirty years": (1e9, 0, 0, "api-2", "expired"),
    "a pause that ends seconds after the expiry": (ENDS + 3, 0, 0, "api-2", "expired"),
    "a pause that ends within the margin": (DEAD + 1, 0, 0, "api-2", "expired"),
    "a pause that ends within the buffer": (BUFFER_BEGINS + 1, 0, 0, "api-2", "renewing"),
    "a pause of half a minute": (30, 0, 0, "api-1", "fresh"),
    "a pause of half a minute counts": (30, 0, BUFFER_BEGINS - 29, "api-2", "renewing"),
    "less than a step": (0.9, 0, 0, "api-1", "fresh"),
    "the wall clock set back": (-7200, 0, 0, "api-1", "fresh"),
    "the wall clock set back prolongs nothing": (-7200, 0, DEAD + 1, "api-2", "expired"),
    "a slow clock before the expiry": (-30, 0, DEAD - 1, "api-2", "renewing"),
    "both set back": (-500, -500, 0, "api-1", "fresh"),
    "both set back prolong nothing": (-500, -500, DEAD + 1, "api-2", "expired"),
    "both set back by more than a life": (-9000, -9000, 0, "api-1", "fresh"),
    "the monotonic clock set back": (0, -500, DEAD + 1, "api-2", "expired"),
    "both apart": (1800, -1800, 0, "api-1", "fresh"),
    "both apart, and what is left": (1800, -1800, DEAD - 1799, "api-2", "expired"),
}
ROWS = pytest.mark.parametrize(
    ("wall", "monotonic", "then", "token", "state"), STEPS.values(), ids=STEPS
)


def _step(clock, wall, monotonic):
    clock.step_wall(wall)
    clock.step_monotonic(monotonic)


class TestTheScheduler:
    """The scheduler checks the clocks whenever it wakes up."""

    @ROWS
    def test_steps(self, keeper, source, clock, look, wall, monotonic, then, token, state):
        """The remaining lifetime is calculated from the clock on which more time passed."""
        keeper.get_token("api")
        _step(clock, wall, monotonic)
        look(keeper)
        clock.step(then)
        look(keeper)
        assert keeper.get_token("api") == token
        for _ in range(5):
            look(keeper)
        assert source.requests == int(token[-1])

    def test_readers_of_an_expired_token_wait_for_one_renewal(
        self, keeper, source, clock, in_thread
    ):
        """No caller gets a token that expired while the machine was paused."""
        keeper.get_token("api")
        source.gate.clear()
        assert source.entered.acquire(timeout=10)
        clock.step_wall(7200)
        internals.look_at_clocks(keeper)
        callers = [in_thread(keeper.get_token, "api") for _ in range(8)]
        assert source.entered.acquire(timeout=10)
        source.gate.set()
        for thread, _ in callers:
            thread.join(10)
        assert [got for _, got in callers] == [["api-2"]] * 8
        assert source.requests == 2

    def test_readers_in_the_buffer_do_not_wait(self, keeper, source, clock):
        """A token that a pause moved into its buffer is served while its renewal hangs."""
        keeper.get_token("api")
        clock.step_wall(BUFFER_BEGINS + 1)
        internals.look_at_clocks(keeper)
        source.gate.clear()
        internals.renew(keeper)
        assert keeper.get_token("api", timeout=0) == "api-1"

    @pytest.mark.parametrize("step", [7200, -7200, 30])
    def test_a_clock_that_was_set_costs_one_renewal_at_most(
        self, keeper, source, clock, look, step
    ):
        """The renewed token has deadlines on the new time, and is not renewed again."""
        keeper.get_token("api")
        clock.step_wall(step)
        for _ in range(100):
            look(keeper)
            clock.step(5)
        assert source.requests == (2 if step == 7200 else 1)

    def test_a_clock_that_gains_slowly(self, keeper, source, clock, look):
        """Drift without a step adds up: 20 minutes in an hour are noticed."""
        keeper.get_token("api")
        for _ in range(550):
            clock.step(5)
            clock.step_wall(0.95)
            look(keeper)
        assert clock.monotonic() - 1000.0 < BUFFER_BEGINS
        assert source.requests == 2

    def test_a_pause_after_the_clock_was_set_back(self, keeper, clock, look):
        """A pause after the clock was set back counts from the new time."""
        keeper.get_token("api")
        clock.step_wall(-86400)
        look(keeper)
        clock.step_wall(7200)
        look(keeper)
        assert keeper.get_token("api") == "api-2"

    def test_many_tokens_are_not_renewed_in_one_instant(self, clock, make_source):
        """Renewals that a step makes due are spread by jitter, except for waiting callers."""
        draws = iter([0.0] * 100 + [n / 100 for n in range(100)])
        with TokenKeeper(clock=clock, jitter=lambda: next(draws, 0.0)) as keeper:
            internals.take_over_scheduler(keeper)
            for number in range(100):
                keeper.add_provider(make_source(f"t{number}"))
                keeper.get_token(f"t{number}")
            clock.step_wall(7200)
            internals.look_at_clocks(keeper)
            due = [internals.take_due(keeper)]
            for _ in range(5):
                clock.step(SPREAD_AFTER_STEP_SECONDS / 5)
                due.append(internals.take_due(keeper))
            assert keeper.get_token("t99") == "t99-2"
            internals.release_scheduler(keeper)
        assert len(due[0]) == 1
        assert all(len(names) <= 21 for names in due)
        assert sum(map(len, due)) == 100

    def test_a_token_that_is_published_after_the_step(self, keeper, source, clock):
        """A step between a grant and its publication counts for that token too."""
        steps = [7200]

        def step(flight, cached):
            if steps:
                clock.step_wall(steps.pop())
                internals.look_at_clocks(keeper)

        with internals.before_completion(keeper, step):
            assert keeper.get_token("api") == "api-2"

    def test_a_token_granted_after_the_step(self, keeper, make_source, clock, look):
        """A step does not affect tokens that are granted after it."""
        keeper.get_token("api")
        other = make_source("other")
        keeper.add_provider(other)
        clock.step_wall(7200)
        internals.store(keeper, "other", _fetched(other, keeper))
        look(keeper)
        assert keeper.get_token("other") == "other-1"

    def test_a_refused_token_stays_refused(self, keeper, clock, look):
        """A step never makes a rejected token usable."""
        keeper.get_token("api")
        internals.mark_refused(keeper)
        for wall in (7200, -7200):
            clock.step_wall(wall)
            look(keeper)
            assert internals.cached(keeper).is_refused

    def test_an_outage_after_a_pause(self, keeper, source, clock, look):
        """If the server is down after a pause, the expired token is not handed out."""
        keeper.get_token("api")
        source.error = TokenAcquisitionError("down", status_code=503)
        clock.step_wall(7200)
        look(keeper)
        with pytest.raises(TokenAcquisitionError, match="down"):
            keeper.get_token("api")


def _fetched(source, keeper):
    from tokenkeeper._renewal.attempt import request_token

    return request_token(source, None, sent=99, clock=source.clock, jitter=lambda: 0.0)


class TestTheSlowPath:
    """The slow path checks the clocks immediately."""

    @ROWS
    def test_steps(self, keeper, clock, wall, monotonic, then, token, state):
        """Callers on the slow path need no check by the scheduler."""
        keeper.get_token("api")
        _step(clock, wall, monotonic)
        if then:
            keeper.get_oauth2_token("api")
        clock.step(then)
        got = keeper.get_oauth2_token("api").access_token
        assert got == ("api-1" if state == "renewing" else token)

    def test_a_refusal_is_not_undone(self, keeper, clock):
        """A rejected token is replaced, whatever the clocks did meanwhile."""
        token = keeper.get_token("api")
        clock.step_wall(-7200)
        assert keeper.renew_refused("api", token) == "api-2"


class TestDuringARequest:
    """The machine is paused, or its clock is set, during a request."""

    @pytest.fixture
    def paused(self, source, clock):
        """Delay the next answer by a pause, and date it after the pause."""

        def paused(seconds, *, dated_before=False):
            acquire, pauses = source.acquire_token, [seconds]

            def acquire_token():
                token = acquire() if dated_before else None
                while pauses:
                    clock.step_wall(pauses.pop())
                return token or acquire()

            source.acquire_token = acquire_token

        return paused

    @pytest.mark.parametrize("dated_before", [True, False])
    @pytest.mark.parametrize(
        ("seconds", "left"), [(0, 3600), (0.9, 3600), (30, 3570), (1000, 2600), (-1000, 2600)]
    )
    def test_a_pause_is_taken_off(self, keeper, clock, paused, seconds, left, dated_before):
        """A token's lifetime counts from the moment when its request was sent."""
        paused(seconds, dated_before=dated_before)
        assert keeper.get_token("api") == "api-1"
        remaining = internals.cached(keeper).ends_at - clock.monotonic()
        assert 0 < remaining <= left + 1e-3

    @pytest.mark.parametrize("dated_before", [True, False])
    @pytest.mark.parametrize("seconds", [3600, 7200, 1e9])
    def test_a_token_that_expired_on_the_way(self, keeper, source, paused, seconds, dated_before):
        """A token that expired on the way is not handed out, and another one is requested."""
        paused(seconds, dated_before=dated_before)
        assert keeper.get_token("api") == "api-2"
        assert source.requests == 2

    @pytest.mark.parametrize("seconds", [1.5, 30, 3000])
    def test_the_same_token_again(self, keeper, source, clock, paused, seconds):
        """A server that grants the same token again extends nothing, whenever the pause was."""
        token = source.acquire_token()
        source.acquire_token = lambda: token
        assert keeper.get_token("api") == token.access_token
        paused(seconds)
        keeper.get_token("api", force_refresh=True)
        assert internals.cached(keeper).ends_at - clock.monotonic() <= 3600 - seconds + 1e-3


class TestInline:
    """A keeper without a background, as on AWS Lambda: each reader checks both clocks."""

    @ROWS
    def test_steps(self, source, clock, wall, monotonic, then, token, state):
        """Every pause is noticed before a token is handed out."""
        with TokenKeeper(background=False, clock=clock, jitter=lambda: 0.0) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
            _step(clock, wall, monotonic)
            if then:
                keeper.get_token("api")
            clock.step(then)
            assert keeper.get_token("api") == token
            assert keeper.get_token("api") == token
        assert source.requests == int(token[-1])

    def test_the_slow_path_is_taken_once(self, source, clock):
        """After a step that affects no token, readers are as fast as before."""
        with TokenKeeper(background=False, clock=clock) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
            for step in (30, -7200):
                clock.step_wall(step)
                keeper.get_token("api")
                with internals.without_slow_path(keeper):
                    assert keeper.get_token("api") == "api-1"


class TestInAForkedChild:
    """A forked child checks the clocks at the fork."""

    @ROWS
    def test_steps(self, keeper, source, clock, wall, monotonic, then, token, state):
        """A child's first reader gets no token that expired during a pause."""
        keeper.get_token("api")
        _step(clock, wall, monotonic)
        internals.after_fork_in_child(keeper)
        clock.step(then)
        internals.take_over_scheduler(keeper)
        assert keeper.get_token("api") == ("api-1" if state == "renewing" else token)


class TestDiagnostics:
    """get_cached_token_info() and health()."""

    @ROWS
    def test_the_expiry_never_changes(
        self, keeper, clock, look, wall, monotonic, then, token, state
    ):
        """The expiry that is shown is the token's own, before and after a check."""
        own = keeper.get_oauth2_token("api").expires_at
        _step(clock, wall, monotonic)
        clock.step(then)
        for _ in range(2):
            info = keeper.get_cached_token_info("api")
            assert datetime.fromisoformat(info["expires_at"]) == own
            assert internals.cached(keeper).token.expires_at == own
            internals.look_at_clocks(keeper)

    def test_a_pause_is_shown_before_it_is_noticed(self, keeper, clock):
        """Both use the clock on which more time passed, and change nothing."""
        keeper.get_token("api")
        held = internals.cached(keeper)
        clock.step_wall(BUFFER_BEGINS + 1)
        info, health = keeper.get_cached_token_info("api"), keeper.health()
        assert (info["state"], info["remaining_seconds"]) == ("renewing", 299.0)
        assert health["providers"]["api"]["state"] == "renewing"
        clock.step_wall(7200)
        assert keeper.get_cached_token_info("api")["state"] == "expired"
        assert keeper.health()["providers"]["api"]["status"] == "idle"
        assert internals.cached(keeper) is held


class TestClockSteps:
    """ClockSteps itself."""

    def test_nothing_to_take(self):
        """Clocks that advance together took no step, and a step is taken once."""
        clock = SteppedClock()
        steps = ClockSteps(clock)
        clock.step(86400)
        assert steps.take() is None
        clock.step_wall(5)
        assert steps.take() == ClockStep(clock.time() - clock.monotonic())
        assert steps.take() is None

    def test_set_back(self):
        """A monotonic clock that went back is a step, even if the wall clock went back as well."""
        clock = SteppedClock()
        steps = ClockSteps(clock)
        _step(clock, -5, -5)
        assert steps.take() == ClockStep(clock.time() - clock.monotonic(), 5.0)
        assert steps.take() is None

    def test_both_clocks_are_read_close_together(self):
        """A thread that was interrupted between two readings reads both clocks again."""

        class Slow(SteppedClock):
            readings = 0

            def time(self):
                self.readings += 1
                if self.readings == 1:
                    self.step(3.0)
                return super().time()

        clock = Slow(wall=100.0, monotonic=5.0)
        assert instant(clock) == Instant(103.0, 8.0)
        assert clock.readings == 2
