"""The keeper: what it forgets, whom it knows, how it goes without threads, and its end."""

import gc
import math
import threading
import weakref

import pytest

import tokenkeeper.default as default_module
import tokenkeeper.keeper as keeper_module
from tokenkeeper import (
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2Token,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
    get_default_keeper,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)
OUTAGE = TokenAcquisitionError("down", status_code=503)


def _interrupted(keeper):
    with pytest.raises(KeyboardInterrupt):
        keeper.get_token("api")


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

    def test_clear_in_mid_flight(self, keeper, source, in_thread):
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

    def test_a_failure_after_clear_is_not_kept(self, keeper, source, in_thread):
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

    def test_the_others_take_the_current_token(self, keeper, source, clock, in_thread):
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
        assert keeper._wait_for(flight, wish).access_token == "api-2"


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

    def test_who_waits_is_told(self, keeper, source, in_thread):
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
        monkeypatch.setattr(default_module, "_default", None)

    def test_one_for_all(self, in_thread):
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
