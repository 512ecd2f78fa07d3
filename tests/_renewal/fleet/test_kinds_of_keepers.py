"""Forked, inline, async and idle members of a fleet, and tokens that callers choose."""

import math

import anyio
import pytest
from kit import internals
from kit.providers import ManyTokens
from kit.stores import FleetProvider, continue_as_child, renew_when_due

from tokenkeeper import (
    InvalidConfigurationError,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
)
from tokenkeeper.stores.sealed import Plain
from tokenkeeper.stores.settings import StoreSettings
from tokenkeeper.stores.sqlite import SQLiteTokenStore


class TestFork:
    """A forked child is a process of its own."""

    def test_is_another_owner(self, fleet):
        """Parent and child have different owner ids."""
        keeper = fleet.keeper()
        parent = internals.fleet(keeper).owner
        continue_as_child(keeper)
        child = internals.fleet(keeper).owner
        assert parent != child
        assert len(child) == 32

    def test_inherits_no_claim(self, fleet, clock, store, server):
        """It waits for the claim of its parent like any other process."""
        keeper = fleet.keeper()
        key, owner = internals.record_key(keeper), internals.fleet(keeper).owner
        options = {"generation": 0, "older_than_seconds": 0.0, "intent": "the parent asks"}
        store.claim(key, owner=owner, **options)
        continue_as_child(keeper)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert clock.monotonic() - began >= 5

    def test_keeps_tokens(self, fleet, clock, server):
        """It serves the parent's token, and shares the next one."""
        keeper, other = fleet.several(2)
        keeper.get_token("api")
        continue_as_child(keeper)
        assert keeper.get_token("api") == "token-1"
        renew_when_due(keeper, clock)
        assert other.get_token("api") == "token-2"
        assert server.requests == 2

    def test_remembers_what_was_cleared(self, fleet, clock, store, server):
        """A token that the parent cleared is not adopted by the child either."""
        keeper = fleet.keeper()
        keeper.get_token("api")
        clock.step(1)
        store.go_down()
        keeper.clear_token("api")
        continue_as_child(keeper)
        store.come_back()
        assert keeper.get_token("api") == "token-2"

    def test_leaves_unpublished_tokens_to_the_parent(self, family, store, strict):
        """Only the parent goes on to store what could not be stored."""
        keeper = family.keeper(background=False)
        strict.during = store.go_down
        keeper.get_token("api")
        continue_as_child(keeper)
        store.come_back()
        assert internals.unpublished(keeper).store_all()
        assert store.record.sealed is None

    def test_without_a_store(self, keeper):
        """A keeper without a store has nothing of all this."""
        internals.after_fork_in_child(keeper)
        assert "store" not in keeper.health()


class TestInline:
    """Keepers without threads."""

    def test_share(self, fleet, clock, server):
        """They renew when a caller comes, and adopt what others have requested."""
        first, second = fleet.several(2, background=False)
        for _ in range(4):
            assert first.get_token("api") == second.get_token("api")
            clock.step(3300)
        assert server.requests == 4

    def test_valid_token_is_not_held_up(self, fleet, clock, server):
        """While another process asks, a caller with a valid token gets it without a wait."""
        first, second = fleet.several(2, background=False)
        for keeper in (first, second):
            keeper.get_token("api")
        clock.step(3300)
        seen = []

        def second_asks():
            began = clock.monotonic()
            seen.append((second.get_token("api"), clock.monotonic() - began))

        server.during = second_asks
        assert first.get_token("api") == "token-2"
        assert seen == [("token-1", 0.0)]
        clock.step(0.1)
        assert second.get_token("api") == "token-2"
        assert server.requests == 2

    def test_waits_on_its_own_thread(self, fleet, clock, store, server):
        """A caller without a token waits for the other process, and takes over if it is gone."""
        keeper = fleet.keeper(background=False)
        options = {"generation": 0, "older_than_seconds": 0.0, "intent": "to ask"}
        store.claim(internals.record_key(keeper), owner="gone", **options)
        began = clock.monotonic()
        assert keeper.get_token("api") == "token-1"
        assert 5 <= clock.monotonic() - began < 5.5

    def test_timeout_that_has_passed(self, fleet, clock, store, server):
        """A caller whose timeout has passed meanwhile gets an error, and asks no more."""
        first, second = fleet.several(2, background=False)
        for keeper in (first, second):
            keeper.get_token("api")
        clock.step(1)
        errors = []

        def second_forces():
            with pytest.raises(TokenAcquisitionError, match="within the timeout") as caught:
                second.get_token("api", force_refresh=True, timeout=0.0)
            errors.append(caught.value)

        server.during = second_forces
        first.get_token("api", force_refresh=True)
        assert isinstance(errors[0], TimeoutError)
        assert server.requests == 2


class TestIdle:
    """Tokens that no caller asks for."""

    def test_lapse_and_are_adopted_again(self, fleet, clock, server):
        """An idle process lets its token lapse, and adopts the fleet's when it is asked again."""
        busy, idle = fleet.several(2, idle_timeout_seconds=600)
        for keeper in (busy, idle):
            keeper.get_token("api")
        for _ in range(6):
            clock.step(1800)
            busy.get_token("api")
            for keeper in (busy, idle):
                internals.renew_due(keeper)
            busy.get_token("api")
        requests = server.requests
        assert internals.cached(idle) is None
        assert idle.get_token("api") == busy.get_token("api")
        assert server.requests == requests

    def test_lapsed_tokens_stay_in_the_store(self, fleet, clock, store, server):
        """That one process is idle does not remove the token from the store."""
        idle = fleet.keeper(idle_timeout_seconds=0)
        idle.get_token("api")
        renew_when_due(idle, clock)
        clock.step(100)
        internals.look(idle)
        assert store.record.sealed is not None
        assert "forget" not in store.calls


class TestChosen:
    """Tokens whose parameters a caller chose."""

    @pytest.fixture
    def keepers(self, fleet, clock):
        """Return two keepers of one provider that takes everything."""

        class Shared(ManyTokens):
            def describe(self):
                return {"type": "many"}

        self.providers = [Shared(clock=clock), Shared(clock=clock)]
        return [fleet.keeper(provider=each, max_tokens=2) for each in self.providers]

    def test_are_shared_by_name(self, fleet, keepers):
        """Each name is a record of its own, and one request."""
        for scope in ("read", "write"):
            tokens = {keeper.source("api", scope=scope).get_token() for keeper in keepers}
            assert len(tokens) == 1
        assert sum(len(each.requests) for each in self.providers) == 2
        assert len(set(fleet.store.keys())) == 2

    def test_beyond_max_tokens(self, fleet, keepers):
        """A token that made room is adopted from the store when it is asked for again."""
        first, _ = keepers
        for scope in ("a", "b", "c", "a"):
            assert first.source("api", scope=scope).get_token().startswith(scope)
        assert sum(len(each.requests) for each in self.providers) == 3

    def test_clear(self, fleet, keepers):
        """Clearing a provider removes the records of all its tokens."""
        first, _ = keepers
        for scope in ("a", "b"):
            first.source("api", scope=scope).get_token()
        first.clear_token("api")
        assert [fleet.store.read(key).sealed for key in [*fleet.store.keys()]] == [None, None]


def test_async_facade(fleet, clock, server):
    """The async facade shares through the same store."""
    keeper, other = fleet.several(2)
    manager = OAuth2TokenManager(keeper)

    async def ask():
        return await manager.get_token("api")

    assert anyio.run(ask) == other.get_token("api") == "token-1"
    assert server.requests == 1


class TestClose:
    """What becomes of the store at the end."""

    @pytest.fixture
    def url(self, tmp_path):
        return f"sqlite:///{tmp_path}/kept/tokens.db"

    @pytest.fixture
    def watch(self, monkeypatch):
        """Return a function that returns a list of the stores that are closed from then on."""

        def watch():
            closed = []
            monkeypatch.setattr(SQLiteTokenStore, "close", lambda store: closed.append(store))
            return closed

        return watch

    @pytest.mark.parametrize("is_custody", [False, True], ids=["store", "custody"])
    def test_one_that_was_opened_by_its_url(self, url, strict, watch, is_custody):
        """It is closed with the keeper."""
        provider = FleetProvider(strict)
        provider.custody = url if is_custody else None
        with TokenKeeper(background=False, store=None if is_custody else url) as keeper:
            keeper.add_provider(provider)
            closed = watch()
        assert len(closed) == 1

    def test_one_that_was_passed(self, url, watch):
        """It stays open: another keeper may use it."""
        closed = watch()
        store = SQLiteTokenStore(url.removeprefix("sqlite://"))
        for given in (store, {"store": store}, StoreSettings(store, Plain())):
            TokenKeeper(background=False, store=given).close()
        assert not closed

    def test_one_that_fails(self, url, strict, monkeypatch, caplog):
        """The keeper is closed all the same, and a log line says so."""
        provider = FleetProvider(strict)
        ends = []
        provider.close = lambda: ends.append("provider")
        keeper = TokenKeeper(background=False, store=url)
        keeper.add_provider(provider)
        monkeypatch.setattr(SQLiteTokenStore, "close", lambda _: 1 / 0)
        keeper.close()
        assert ends == ["provider"]
        assert "closing the store sqlite" in caplog.text
        assert "ZeroDivisionError" in caplog.text


def test_store_must_be_one():
    """A keeper refuses what is not a store."""
    with pytest.raises(InvalidConfigurationError, match="store"):
        TokenKeeper(store=math.inf)
