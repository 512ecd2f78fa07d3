"""The mock providers in a keeper."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

import tokenkeeper.testing.providers
from tokenkeeper import OAuth2Token, TokenAcquisitionError, TokenKeeper
from tokenkeeper.testing import AsyncMockProvider, MockProvider, StaticProvider, SteppedClock

BOTH = pytest.mark.parametrize("kind", [MockProvider, AsyncMockProvider])


@pytest.fixture
def keep(clock):
    """Return a function that makes keepers without a background, on the clock of the test."""
    keepers = []

    def keep(provider):
        keeper = TokenKeeper(background=False, clock=clock, cooldown_seconds=0)
        keeper.add_provider(provider)
        keepers.append(keeper)
        return keeper

    yield keep
    for keeper in keepers:
        keeper.close()


@BOTH
def test_tokens_are_numbered(kind, keep, clock):
    """Each call grants another token, and the provider counts the calls."""
    provider = kind("api", scope="read", clock=clock)
    keeper = keep(provider)
    assert keeper.get_token("api") == "api-token-1"
    assert keeper.get_token("api", force_refresh=True) == "api-token-2"
    assert (provider.acquire_calls, provider.refresh_calls, provider.calls) == (1, 1, 2)
    assert [token.access_token for token in provider.refreshed] == ["api-token-1"]
    assert keeper.get_cached_token_info("api")["scope"] == "read"
    keeper.close()
    assert provider.close_calls == 1


@BOTH
def test_lifetimes_are_on_the_clock_given(kind, keep, clock):
    """The lifetime of tokens can be set, and is measured on the provider's clock."""
    keeper = keep(kind("api", lifetime_seconds=100, clock=clock))
    keeper.get_token("api")
    assert keeper.get_cached_token_info("api")["remaining_seconds"] == pytest.approx(100)
    clock.step(99)
    assert keeper.get_token("api") == "api-token-2"


@BOTH
def test_a_script_is_followed_in_order(kind, keep, clock):
    """Errors are raised, texts and tokens returned, lifetimes used; then tokens as usual."""
    ends = datetime.fromtimestamp(clock.time(), UTC) + timedelta(hours=1)
    ready = OAuth2Token("ready-made", "Bearer", ends)
    refusal = TokenAcquisitionError("no", error="invalid_client")
    provider = kind("api", script=[refusal, "text", ready, 60], clock=clock)
    keeper = keep(provider)
    with pytest.raises(TokenAcquisitionError, match="no"):
        keeper.get_token("api")
    assert keeper.get_token("api") == "text"
    assert keeper.get_token("api", force_refresh=True) == "ready-made"
    assert keeper.get_token("api", force_refresh=True) == "api-token-4"
    assert keeper.get_cached_token_info("api")["remaining_seconds"] == pytest.approx(60)
    provider.script.append("more")
    assert keeper.get_token("api", force_refresh=True) == "more"
    assert keeper.get_token("api", force_refresh=True) == "api-token-6"


@BOTH
def test_calls_are_held_at_the_gate(kind):
    """A call stays inside the provider until it is released; a test can wait for its begin."""
    provider = kind("api")
    with TokenKeeper() as keeper:
        keeper.add_provider(provider)
        tokens = []
        thread = threading.Thread(target=lambda: tokens.append(keeper.get_token("api")))
        with provider.hold():
            assert not provider.entered.is_set()
            thread.start()
            assert provider.entered.wait(10)
            assert not tokens
        thread.join(10)
        assert tokens == ["api-token-1"]


@BOTH
def test_a_gate_nobody_opens_is_an_error(kind, keep, clock, monkeypatch):
    """A call that is never released fails, and does not hang the test."""
    monkeypatch.setattr(tokenkeeper.testing.providers, "GATE_SECONDS", 0.01)
    provider = kind("api", clock=clock)
    keeper = keep(provider)
    with provider.hold(), pytest.raises(TokenAcquisitionError, match="RuntimeError"):
        keeper.get_token("api")


def test_a_static_token_stays(keep):
    """A static provider grants the same text each time, with a new lifetime."""
    clock = SteppedClock(auto_step=True)
    provider = StaticProvider("api", "always", 100, clock=clock)
    with TokenKeeper(background=False, clock=clock) as keeper:
        keeper.add_provider(provider)
        assert keeper.get_token("api") == "always"
        clock.step(200)
        assert keeper.get_token("api") == "always"
        assert keeper.get_cached_token_info("api")["renewals"] == 1
