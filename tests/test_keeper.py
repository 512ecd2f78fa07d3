"""The keeper: its providers, clearing, renewing, and the process-wide default."""

import math
import threading

import pytest
from kit import internals

import tokenkeeper.default as default_module
from tokenkeeper import (
    InvalidConfigurationError,
    TokenAcquisitionError,
    TokenKeeper,
    UnknownProviderError,
    get_default_keeper,
)

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)


class TestForgetting:
    """clear_token and remove_provider."""

    def test_clear_one(self, keeper, make_source):
        """A cleared token is requested again, and the others stay."""
        keeper.add_provider(make_source("other"))
        keeper.get_token("api")
        keeper.get_token("other")
        keeper.clear_token("api")
        assert keeper.get_cached_token_info("api") is None
        assert (keeper.get_token("api"), keeper.get_token("other")) == ("api-2", "other-1")

    def test_clear_all(self, keeper, make_source):
        """Without a name all tokens are cleared."""
        keeper.add_provider(make_source("other"))
        keeper.get_token("api")
        keeper.get_token("other")
        keeper.clear_token()
        assert (keeper.get_token("api"), keeper.get_token("other")) == ("api-2", "other-2")

    def test_clear_forgets_a_refusal(self, keeper, source):
        """Clearing ends the cooldown, because the cause may have been fixed."""
        source.error = WRONG_SECRET
        with pytest.raises(TokenAcquisitionError):
            keeper.get_token("api")
        source.error = None
        keeper.clear_token("api")
        assert keeper.get_token("api") == "api-2"

    def test_clear_in_mid_flight(self, keeper, source, in_thread):
        """A request in flight during a clear serves the waiting callers, and is not cached."""
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
        """A refusal that arrives after its token was cleared has no effect."""
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
        """The scheduler forgets a removed provider."""
        keeper.get_token("api")
        keeper.clear_token("api")
        clock.step(3300)
        assert look(keeper) == []
        internals.renew(keeper)
        assert source.requests == 1


class TestRefreshAll:
    """refresh_all."""

    def test_says_per_name_whether_it_worked(self, keeper, source, make_source):
        """Every cached token is renewed, and a failure affects one name only."""
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
        """All renewals are made at once."""
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
        with pytest.raises(InvalidConfigurationError, match="duplicate provider name") as caught:
            keeper.add_provider(make_source())
        assert caught.value.provider_name == "api"
        assert keeper.get_token("api") == "api-1"
        assert source.requests == 1

    @pytest.mark.parametrize("nonsense", [None, "api", object()])
    def test_only_providers(self, keeper, nonsense):
        """An object that is not a provider is refused by add_provider()."""
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
        """An unknown name is a configuration error, a KeyError, and lists the known names."""
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
        """An option that can't work is refused, and the error names it."""
        with pytest.raises(InvalidConfigurationError, match=field):
            TokenKeeper(**{field: value})

    def test_repr(self, keeper):
        """The repr has the number of providers."""
        assert repr(keeper) == "<TokenKeeper with 1 providers>"


class TestDefault:
    """The process-wide default keeper."""

    @pytest.fixture(autouse=True)
    def no_default(self, monkeypatch):
        monkeypatch.setattr(default_module, "_default", None)

    def test_one_for_all(self, in_thread):
        """All threads get the same keeper."""
        threads = [in_thread(get_default_keeper) for _ in range(8)]
        for thread, _ in threads:
            thread.join(10)
        assert {id(results[0]) for _, results in threads} == {id(get_default_keeper())}
        get_default_keeper().close()

    def test_a_closed_one_is_replaced(self):
        """After the default keeper was closed, the next call creates a new one."""
        first = get_default_keeper()
        first.close()
        second = get_default_keeper()
        assert second is not first
        assert not second.is_closed
        second.close()
