"""The blocking core: a token's life as callers see it."""

import gc
import logging
import math
import threading
import weakref
from datetime import UTC, datetime

import pytest

import tokenkeeper.keeper as keeper_module
from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Error,
    OAuth2Token,
    RetryPolicy,
    TokenAcquisitionError,
    TokenKeeper,
    TokenRefreshError,
    TokenWaitTimeoutError,
    UnknownProviderError,
    get_default_keeper,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


def in_thread(function, *arguments):
    """Run *function* on a thread; return the thread and the list that its result lands in."""
    results = []

    def run():
        try:
            results.append(function(*arguments))
        except OAuth2Error as error:
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


class TestFresh:
    """More than the buffer is left."""

    def test_first_token_is_fetched_once(self, keeper, source):
        """The first call fetches, the next ones are served from memory."""
        assert [keeper.get_token("api") for _ in range(3)] == ["api-1"] * 3
        assert source.requests == 1

    def test_to_the_last_tick(self, keeper, source, clock):
        """A token is fresh to the last tick before its buffer, and read without the slow path."""
        keeper.get_token("api")
        stale_at = keeper._held["api"].stale_at
        clock.step(math.nextafter(stale_at, 0) - clock.monotonic())
        keeper._renewals.ask = None  # the slow path would fail
        keeper._renewals.in_background = None
        assert keeper.get_token("api") == "api-1"
        del keeper._renewals.ask, keeper._renewals.in_background


class TestRenewing:
    """Inside the buffer."""

    def test_renewed_ahead_of_the_buffer(self, keeper, source, clock, look):
        """The refresher renews before the buffer begins; readers find the new token."""
        keeper.get_token("api")
        clock.step(3239.9)
        assert look(keeper) == []
        clock.step(0.2)
        assert look(keeper) == ["api"]
        assert keeper.get_token("api") == "api-2"
        assert source.refreshed == ["api-1"]

    def test_served_while_it_is_renewed(self, keeper, source, clock):
        """Readers inside the buffer get the token at once, though its renewal hangs."""
        keeper.get_token("api")
        clock.step(3400)
        source.gate.clear()
        keeper._renewals.renew("api")
        assert source.entered.acquire(timeout=10)
        assert source.entered.acquire(timeout=10)
        assert [keeper.get_token("api") for _ in range(5)] == ["api-1"] * 5
        source.gate.set()

    def test_own_buffer(self, keeper, make_source, clock, look):
        """A provider may want more time than others."""
        keeper.add_provider(make_source("early", buffer_seconds=1000))
        keeper.get_token("early")
        clock.step(3600 - 1000 - 60)
        assert look(keeper) == ["early"]

    def test_a_failure_is_nobody_s_error(self, keeper, source, clock, look, caplog):
        """A renewal that fails is logged, counted and shown; readers get the token."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3241)
        look(keeper)
        assert keeper.get_token("api") == "api-1"
        info = keeper.get_cached_token_info("api")
        assert (info["failures"], info["last_error"]) == (1, "down")
        keeper.close()  # callers do not wait for log lines; this does
        assert "down" in caplog.text

    def test_failures_are_forgotten_once_it_works(self, keeper, source, clock, look):
        """A renewal that works clears what was noted."""
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
        """Each failure makes the wait longer, and in the background nothing retries by itself."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3240)
        waits = []
        for made in range(2, 7):
            look(keeper)
            assert source.requests == made
            waits.append(keeper._held["api"].renew_at - clock.monotonic())
            clock.step(waits[-1])
        assert waits == pytest.approx([0.25, 0.5, 1, 2, 4])  # half of 0.5 s, doubling: no jitter

    def test_an_outage_shorter_than_the_rest_is_not_noticed(self, keeper, source, clock, look):
        """Callers notice nothing of an outage that ends before the token does."""
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
        """A token is handed out one tick before its margin begins, and not when it has begun."""
        keeper.get_token("api")
        dead_at = keeper._held["api"].dead_at
        moment = dead_at if at == 0 else math.nextafter(dead_at, 0)
        clock.step(moment - clock.monotonic())
        assert keeper.get_token("api") == token

    def test_callers_wait_for_one_renewal(self, keeper, source, clock):
        """Whoever comes to an expired token waits for the one renewal in flight."""
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
        """A token that lives shorter than the buffer is used for half its life and more."""
        source.lifetime = 60
        keeper.get_token("api")
        clock.step(33)
        assert [keeper.get_token("api") for _ in range(10)] == ["api-1"] * 10

    def test_dead_on_arrival(self, keeper, source, clock):
        """A token that had ended when it came is an error, and is not cached."""
        source.lifetime = -5
        with pytest.raises(TokenAcquisitionError, match="dead when it arrived"):
            keeper.get_token("api")
        assert keeper.get_cached_token_info("api") is None


class TestClocks:
    """Clocks that jump."""

    @pytest.mark.parametrize("step", [-1e6, -3600, -1, 1, 3600, 1e6])
    def test_a_stepped_wall_clock_changes_nothing(self, keeper, clock, step):
        """Deadlines do not move with the wall clock, in either direction."""
        keeper.get_token("api")
        clock.step_wall(step)
        assert keeper.get_token("api") == "api-1"
        clock.step(3595)
        assert keeper.get_token("api") == "api-2"

    def test_shown_end_goes_with_the_wall_clock(self, keeper, clock):
        """The end that is shown is what the wall clock will show then."""
        keeper.get_token("api")
        clock.step_wall(7200)
        shown = datetime.fromisoformat(keeper.get_cached_token_info("api")["expires_at"])
        assert shown.timestamp() == pytest.approx(clock.time() + 3600, abs=1e-3)


class TestForce:
    """force_refresh=True."""

    def test_fetches_though_the_token_is_fresh(self, keeper, source):
        """A forced renewal asks the server; the readers after it get what it brought."""
        keeper.get_token("api")
        assert keeper.get_token("api", force_refresh=True) == "api-2"
        assert keeper.get_token("api") == "api-2"

    def test_does_not_take_what_was_asked_for_earlier(self, keeper, source):
        """A request that left before the call is waited for, and then a new one is made."""
        keeper.get_token("api")
        source.gate.clear()
        first, first_got = in_thread(keeper.get_token, "api", True)
        assert source.entered.acquire(timeout=10)
        assert source.entered.acquire(timeout=10)
        wish = keeper._renewals.wish("api", force=True)
        flight = keeper._renewals.ask(wish)
        source.gate.set()
        first.join(10)
        assert first_got == ["api-2"]
        assert keeper._wait_for(flight, wish) == "api-3"

    def test_an_earlier_failure_is_not_its_own(self, keeper, source):
        """A request that left before the call and fails is no answer either."""
        keeper.get_token("api")
        source.gate.clear()
        source.error = WRONG_SECRET
        first, first_got = in_thread(keeper.get_token, "api", True)
        assert source.entered.acquire(timeout=10)
        assert source.entered.acquire(timeout=10)
        wish = keeper._renewals.wish("api", force=True)
        flight = keeper._renewals.ask(wish)
        source.gate.set()
        first.join(10)
        assert isinstance(first_got[0], TokenAcquisitionError)
        source.error = None
        assert keeper._wait_for(flight, wish) == "api-3"

    def test_failure_leaves_the_token(self, keeper, source):
        """A forced renewal that fails is its caller's error, and nobody else's."""
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
        """Once a token was granted the refusal before it stands no more."""
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

    def test_a_crowd_makes_one_renewal(self, keeper, source):
        """Whoever names the same refused token shares one renewal."""
        refused = keeper.get_token("api")
        assert {keeper.renew_refused("api", refused) for _ in range(100)} == {"api-2"}
        assert source.requests == 2

    def test_a_refused_token_is_dead(self, keeper, source):
        """Nobody gets a refused token again, though its life is not over."""
        refused = keeper.get_token("api")
        source.error = WRONG_SECRET
        with pytest.raises(TokenRefreshError):
            keeper.renew_refused("api", refused)
        with pytest.raises(TokenRefreshError):
            keeper.get_token("api")
        assert keeper.get_cached_token_info("api")["state"] == "expired"
        assert source.requests == 2

    def test_a_token_of_old_causes_nothing(self, keeper, source):
        """Who was refused with a token that is replaced already gets the new one."""
        old = keeper.get_token("api")
        keeper.get_token("api", force_refresh=True)
        assert keeper.renew_refused("api", old) == "api-2"
        assert source.requests == 2

    def test_a_server_that_grants_the_same_again(self, keeper, source):
        """A server that grants the very token again is asked once for each refusal."""
        source.acquire_token = lambda grant=source.acquire_token: _same(source, grant)
        refused = keeper.get_token("api")
        assert keeper.renew_refused("api", refused) == refused
        assert source.requests == 2
        assert keeper.get_token("api") == refused


def _interrupted(keeper):
    with pytest.raises(KeyboardInterrupt):
        keeper.get_token("api")


def _same(source, grant):
    number = source.requests
    token = grant()
    object.__setattr__(token, "access_token", "same")
    assert source.requests == number + 1
    return token


class TestFailure:
    """There is no valid token, and the server says no."""

    def test_cooldown(self, keeper, source, clock):
        """A refusal stands for a while and costs one request, however often it is asked for."""
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

    def test_what_may_pass_is_retried(self, keeper, source):
        """A caller without a token gets one as soon as the server is back."""
        failures = [OUTAGE, OUTAGE, None]
        acquire = source.acquire_token

        def fail_twice():
            source.error = failures.pop(0)
            return acquire()

        source.acquire_token = fail_twice
        assert keeper.get_token("api") == "api-3"

    def test_retries_end(self, keeper, source):
        """After the policy's attempts the error comes, with their number on it."""
        source.error = OUTAGE
        source.retry = RetryPolicy(attempts=3)
        with pytest.raises(TokenAcquisitionError) as caught:
            keeper.get_token("api")
        assert (caught.value.attempts, source.requests) == (3, 3)

    def test_an_error_after_expiry_is_a_refresh_error(self, keeper, source, clock):
        """Where a token was held before, the error says that it could not be renewed."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        clock.step(4000)
        with pytest.raises(TokenRefreshError) as caught:
            keeper.get_token("api")
        assert caught.value.error == "invalid_client"

    def test_the_background_heals_what_may_pass(self, keeper, source, clock, look):
        """After an outage longer than the token the refresher fetches without being asked."""
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

    def test_the_background_leaves_a_refusal_alone(self, keeper, source, clock, look):
        """Without a valid token a refused secret is not tried again until somebody asks."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        clock.step(4000)
        look(keeper)
        made = source.requests
        clock.step(4000)
        assert look(keeper) == []
        assert source.requests == made

    def test_a_foreign_error_is_wrapped(self, keeper, source):
        """A bug in a provider comes out as one of our errors, with the root as its cause."""
        source.error = ZeroDivisionError("at line 7")
        with pytest.raises(TokenAcquisitionError, match="ZeroDivisionError") as caught:
            keeper.get_token("api")
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert caught.value.provider_name == "api"

    def test_a_configuration_error_comes_out_as_it_is(self, keeper, source):
        """A provider may find at first use that its configuration can't work."""
        source.error = InvalidConfigurationError("no such tenant", field="tenant_id")
        with pytest.raises(InvalidConfigurationError, match="no such tenant"):
            keeper.get_token("api")

    def test_no_token_at_all(self, keeper, source):
        """What a provider returns must be a token."""
        source.acquire_token = lambda: "a bare string"
        with pytest.raises(TokenAcquisitionError, match="str, not OAuth2Token"):
            keeper.get_token("api")

    def test_a_provider_that_asks_for_its_own_token(self, keeper, source):
        """A provider that needs its own token to fetch it gets an error, not a deadlock."""
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

    def test_the_caller_leaves_and_the_flight_goes_on(self, keeper, source):
        """A caller whose timeout ends gets a clear error; the next one gets the token."""
        source.gate.clear()
        with pytest.raises(TokenWaitTimeoutError, match="within the timeout") as caught:
            keeper.get_token("api", timeout=0)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.provider_name == "api"
        source.gate.set()
        assert keeper.get_token("api", timeout=20) == "api-1"
        assert source.requests == 1

    def test_no_wait_no_timeout(self, keeper):
        """With a valid token at hand the timeout does not matter."""
        keeper.get_token("api")
        assert keeper.get_token("api", False, 0) == "api-1"

    def test_no_retry_beyond_the_deadline(self, keeper, source):
        """A caller gets the real error at once if no retry would end in time."""
        source.error = TokenAcquisitionError("busy", status_code=429, retry_after=50)
        with pytest.raises(TokenAcquisitionError, match="busy"):
            keeper.get_token("api", timeout=40)
        assert source.requests == 1


class TestFork:
    """What a child goes on with; tests/stress forks for real."""

    def test_renewals_are_planned_anew(self, keeper, source, make_source, clock, look):
        """A child plans a renewal for each live token, before its buffer, and for no other."""
        keeper.add_provider(make_source("refused"))
        keeper.get_token("refused")
        keeper._held["refused"] = keeper._held["refused"].after_refusal()
        keeper.get_token("api")
        keeper._renewals._jitter = lambda: 0.5
        keeper._renewals.after_fork_in_child()
        keeper._renewals.crew.refresher._thread = threading.current_thread()
        clock.step(3260)
        assert look(keeper) == []
        clock.step(20)
        assert look(keeper) == ["api"]
        assert keeper.get_token("api") == "api-2"
        assert keeper.get_token("refused") == "refused-2"

    def test_a_wait_after_failures_is_kept(self, keeper, source, clock, look):
        """A child does not hurry a renewal that waits after failures."""
        keeper.get_token("api")
        source.error = WRONG_SECRET
        clock.step(3301)
        look(keeper)
        keeper._renewals._jitter = lambda: 1.0
        keeper._renewals.after_fork_in_child()
        keeper._renewals.crew.refresher._thread = threading.current_thread()
        assert look(keeper) == []


class TestForgetting:
    """clear_token and remove_provider."""

    def test_clear_one(self, keeper, make_source):
        """A cleared token is fetched anew, and the others stay."""
        keeper.add_provider(make_source("other"))
        keeper.get_token("api")
        keeper.get_token("other")
        keeper.clear_token("api")
        assert keeper.get_cached_token_info("api") is None
        assert (keeper.get_token("api"), keeper.get_token("other")) == ("api-2", "other-1")

    def test_clear_all(self, keeper, make_source):
        """Without a name all tokens go."""
        keeper.add_provider(make_source("other"))
        keeper.get_token("api")
        keeper.get_token("other")
        keeper.clear_token()
        assert (keeper.get_token("api"), keeper.get_token("other")) == ("api-2", "other-2")

    def test_clear_forgets_a_refusal(self, keeper, source):
        """Clearing ends the cooldown: somebody has mended something."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        source.error = None
        keeper.clear_token("api")
        assert keeper.get_token("api") == "api-2"

    def test_clear_in_mid_flight(self, keeper, source):
        """What was under way serves who waited for it, and is not kept."""
        source.gate.clear()
        thread, got = in_thread(keeper.get_token, "api")
        assert source.entered.acquire(timeout=10)
        keeper.clear_token("api")
        source.gate.set()
        thread.join(10)
        assert got == ["api-1"]
        assert keeper.get_cached_token_info("api") is None
        assert keeper.get_token("api") == "api-2"

    def test_a_failure_after_clear_is_not_kept(self, keeper, source):
        """A refusal that comes after its token was cleared does not stand."""
        source.gate.clear()
        source.error = WRONG_SECRET
        thread, got = in_thread(keeper.get_token, "api")
        assert source.entered.acquire(timeout=10)
        keeper.clear_token("api")
        source.gate.set()
        thread.join(10)
        assert isinstance(got[0], TokenAcquisitionError)
        source.error = None
        assert keeper.get_token("api") == "api-2"

    def test_remove(self, keeper, source, make_source):
        """A removed provider is closed and unknown, and its name is free again."""
        keeper.get_token("api")
        keeper.remove_provider("api")
        assert source.closed == 1
        with pytest.raises(UnknownProviderError):
            keeper.get_token("api")
        keeper.add_provider(make_source())
        assert keeper.get_token("api") == "api-1"

    def test_a_cleared_token_is_not_renewed(self, keeper, source, clock, look):
        """The refresher forgets with the rest."""
        keeper.get_token("api")
        keeper.clear_token("api")
        clock.step(3300)
        assert look(keeper) == []
        keeper._renewals.renew("api")
        assert source.requests == 1


class TestRefreshAll:
    """refresh_all."""

    def test_says_per_name_whether_it_worked(self, keeper, source, make_source):
        """Every cached token is renewed, and a failure is one name's only."""
        bad, odd, cold = make_source("bad"), make_source("odd"), make_source("cold")
        for each in (bad, odd, cold):
            keeper.add_provider(each)
        for name in ("api", "bad", "odd"):
            keeper.get_token(name)
        bad.error = WRONG_SECRET
        odd.error = InvalidConfigurationError("gone")
        assert keeper.refresh_all() == {"api": True, "bad": False, "odd": False}
        assert cold.requests == 0
        assert keeper.get_token("api") == "api-2"
        assert keeper.get_token("bad") == "bad-1"

    def test_side_by_side(self, keeper, make_source):
        """All renewals are under way at once."""
        sources = [make_source(f"s{n}") for n in range(5)]
        for each in sources:
            keeper.add_provider(each)
            keeper.get_token(each.provider_name)
        together = threading.Barrier(5)
        for each in sources:
            each.acquire_token = lambda grant=each.acquire_token: (together.wait(10), grant())[1]
        assert set(keeper.refresh_all().values()) == {True}

    def test_nothing_cached(self, keeper):
        """Without a cached token there is nothing to renew."""
        assert keeper.refresh_all() == {}


class TestRegistry:
    """Providers and their names."""

    def test_list(self, keeper, make_source):
        """Names are listed in the order of their registration."""
        keeper.add_provider(make_source("b"))
        keeper.add_provider(make_source("a"))
        assert keeper.list_providers() == ["api", "b", "a"]

    def test_a_name_is_taken_once(self, keeper, source, make_source):
        """A second provider of a name is refused, and the first one stays."""
        with pytest.raises(InvalidConfigurationError, match="taken") as caught:
            keeper.add_provider(make_source())
        assert caught.value.provider_name == "api"
        assert keeper.get_token("api") == "api-1"
        assert source.requests == 1

    @pytest.mark.parametrize("nonsense", [None, "api", object()])
    def test_only_providers(self, keeper, nonsense):
        """What is no provider is refused where it is added."""
        with pytest.raises(InvalidConfigurationError, match="BaseOAuth2Provider"):
            keeper.add_provider(nonsense)

    @pytest.mark.parametrize(
        "ask",
        [
            lambda keeper: keeper.get_token("nope"),
            lambda keeper: keeper.get_token("nope", force_refresh=True),
            lambda keeper: keeper.renew_refused("nope", "token"),
            lambda keeper: keeper.clear_token("nope"),
            lambda keeper: keeper.remove_provider("nope"),
            lambda keeper: keeper.get_cached_token_info("nope"),
        ],
    )
    def test_unknown_names(self, keeper, ask):
        """An unknown name is a configuration error, a KeyError, and says what is known."""
        with pytest.raises(KeyError) as caught:
            ask(keeper)
        assert isinstance(caught.value, InvalidConfigurationError)
        assert "'nope'" in str(caught.value)
        assert "api" in str(caught.value)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("max_workers", 0), ("cooldown_seconds", -1), ("cooldown_seconds", math.nan)],
    )
    def test_options_that_can_not_work(self, field, value):
        """An option that can't work is refused, naming it."""
        with pytest.raises(InvalidConfigurationError, match=field):
            TokenKeeper(**{field: value})

    def test_repr(self, keeper):
        """The repr says how many providers there are."""
        assert repr(keeper) == "<TokenKeeper with 1 providers>"


class TestInfo:
    """get_cached_token_info."""

    def test_what_it_tells(self, keeper, clock):
        """It tells a token's state and times, and no secret."""
        assert keeper.get_cached_token_info("api") is None
        keeper.get_token("api")
        clock.step(600)
        info = keeper.get_cached_token_info("api")
        assert datetime.fromisoformat(info.pop("expires_at")).tzinfo is not None
        assert info == {
            "provider_name": "api",
            "state": "fresh",
            "remaining_seconds": 3000.0,
            "is_expired": False,
            "renews_in_seconds": 2640.0,
            "token_type": "Bearer",
            "scope": "read",
            "renewals": 0,
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
    """One line for each acquisition and failure, and no secret in it."""

    def test_lines(self, keeper, source, clock, look, caplog):
        """Fetching and renewing log a line each; reading logs none."""
        with caplog.at_level(logging.DEBUG, logger="tokenkeeper"):
            for _ in range(10):
                keeper.get_token("api")
            clock.step(3241)
            look(keeper)
            keeper.close()  # callers do not wait for log lines; this does
        assert [record.getMessage() for record in caplog.records] == [
            "provider 'api': token acquired",
            "provider 'api': token renewed",
        ]


class TestInline:
    """Without a background."""

    @pytest.fixture
    def keeper(self, clock, source):
        with TokenKeeper(background=False, clock=clock, jitter=lambda: 0.0) as keeper:
            keeper.add_provider(source)
            yield keeper

    def test_no_thread_is_started(self, keeper, monkeypatch):
        """Everything happens on the caller's thread."""
        monkeypatch.setattr(threading.Thread, "start", None)
        assert keeper.get_token("api") == "api-1"
        assert keeper.get_token("api", force_refresh=True) == "api-2"
        assert keeper.refresh_all() == {"api": True}

    def test_the_first_caller_in_the_buffer_renews(self, keeper, source, clock):
        """Inside the buffer a read renews; outside it does not."""
        keeper.get_token("api")
        clock.step(3299)
        assert keeper.get_token("api") == "api-1"
        clock.step(2)
        assert keeper.get_token("api") == "api-2"

    def test_the_others_take_the_current_token(self, keeper, source, clock):
        """While one caller renews inside the buffer, the others are not kept waiting."""
        keeper.get_token("api")
        clock.step(3400)
        source.gate.clear()
        assert source.entered.acquire(timeout=10)
        thread, got = in_thread(keeper.get_token, "api")
        assert source.entered.acquire(timeout=10)
        assert keeper.get_token("api") == "api-1"
        source.gate.set()
        thread.join(10)
        assert got == ["api-2"]

    def test_a_failure_in_the_buffer_is_nobody_s_error(self, keeper, source, clock):
        """A renewal that fails inside the buffer costs one attempt, and is not repeated at once."""
        keeper.get_token("api")
        source.error = OUTAGE
        clock.step(3400)
        assert [keeper.get_token("api") for _ in range(50)] == ["api-1"] * 50
        assert source.requests == 2

    def test_due_renewals_by_hand(self, keeper, source, clock):
        """The refresher's round may be made by hand."""
        keeper.get_token("api")
        clock.step(3241)
        keeper._renewals.renew_due()
        assert keeper.get_token("api") == "api-2"

    def test_keyboard_interrupt(self, keeper, source):
        """An interrupt goes to the caller, and leaves nothing in the air."""
        source.error = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            keeper.get_token("api")
        assert not keeper._renewals._flights
        source.error = None
        assert keeper.get_token("api") == "api-2"

    def test_another_caller_is_interrupted(self, keeper, source):
        """Who waited for a caller that was interrupted fetches the token itself."""
        source.gate.clear()
        source.error = KeyboardInterrupt()
        flown = threading.Thread(target=_interrupted, args=(keeper,))
        flown.start()
        assert source.entered.acquire(timeout=10)
        wish = keeper._renewals.wish("api")
        flight = keeper._renewals.ask(wish)
        source.gate.set()
        flown.join(10)
        source.error = None
        assert keeper._wait_for(flight, wish) == "api-2"


class TestNoThreads:
    """A host that starts no thread."""

    def test_falls_back_to_inline(self, clock, make_source, monkeypatch, caplog):
        """Where threads are refused tokens are renewed inline, and it is said once."""

        def refuse(self):
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        source = make_source()
        with TokenKeeper(clock=clock, jitter=lambda: 0.0) as keeper:
            keeper.add_provider(source)
            assert keeper.get_token("api") == "api-1"
            clock.step(3400)
            assert keeper.get_token("api") == "api-2"
        assert caplog.text.count("starts no threads") == 1


class TestClose:
    """The end of a keeper."""

    def test_after_close_every_call_raises(self, keeper, source, make_source):
        """A closed keeper hands out nothing; closing twice is allowed."""
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

    def test_who_waits_is_told(self, keeper, source):
        """Closing fails who waits for a token, and does not wait for the server."""
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

    def test_context_manager(self, clock, source):
        """Leaving the block closes the keeper."""
        with TokenKeeper(clock=clock) as keeper:
            keeper.add_provider(source)
            keeper.get_token("api")
        with pytest.raises(KeeperClosedError):
            keeper.get_token("api")

    def test_a_provider_that_fails_to_close(self, clock, make_source, caplog):
        """A provider that can't be closed is logged, and the others are closed."""
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
        """A keeper that nobody holds is collected, and its threads are told to go."""
        keeper = TokenKeeper(clock=clock)
        keeper.add_provider(source)
        keeper.get_token("api")
        crew = keeper._renewals.crew
        thread = crew.refresher._thread
        alive = weakref.ref(keeper)
        del keeper
        gc.collect()
        assert alive() is None
        thread.join(20)
        assert not thread.is_alive()
        assert crew.leaving.is_set()


class TestDefault:
    """The keeper of the process."""

    @pytest.fixture(autouse=True)
    def no_default(self, monkeypatch):
        monkeypatch.setattr(keeper_module, "_default", None)

    def test_one_for_all(self):
        """Everybody gets the same keeper, from whatever thread."""
        threads = [in_thread(get_default_keeper) for _ in range(8)]
        for thread, _ in threads:
            thread.join(10)
        assert {id(results[0]) for _, results in threads} == {id(get_default_keeper())}
        get_default_keeper().close()

    def test_a_closed_one_is_replaced(self):
        """After the default keeper was closed the next call makes a new one."""
        first = get_default_keeper()
        first.close()
        second = get_default_keeper()
        assert second is not first
        assert not second.is_closed
        second.close()


def _tokens_in_memory():
    return sum(isinstance(each, OAuth2Token) for each in gc.get_objects())


def test_an_old_token_leaves_memory_at_once(clock, source):
    """Nothing refers to a token that was replaced or cleared, so it needs no collector to go."""
    with TokenKeeper(background=False, clock=clock) as keeper:
        keeper.add_provider(source)
        gc.collect()
        gc.disable()
        try:
            before = _tokens_in_memory()
            keeper.get_token("api")
            keeper.get_token("api", force_refresh=True)
            assert _tokens_in_memory() == before + 1
            keeper.clear_token()
            assert _tokens_in_memory() == before
        finally:
            gc.enable()


def test_at_exit_the_threads_end(source):
    """At the end of the interpreter the threads end, and who still asks is served."""
    keeper = TokenKeeper()
    keeper.add_provider(source)
    keeper.get_token("api")
    thread = keeper._renewals.crew.refresher._thread
    keeper_module._go_inline()
    thread.join(10)
    assert not thread.is_alive()
    assert keeper.get_token("api", force_refresh=True) == "api-2"
    keeper.close()


def test_dates_are_utc(keeper, clock):
    """Ends are shown in UTC."""
    keeper.get_token("api")
    shown = datetime.fromisoformat(keeper.get_cached_token_info("api")["expires_at"])
    assert shown.tzinfo == UTC
