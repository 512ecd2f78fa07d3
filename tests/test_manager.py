"""The async front, under asyncio and trio."""

import threading
import warnings

import anyio
import pytest
from kit import internals

import tokenkeeper.default as default_module
import tokenkeeper.manager as manager_module
from tokenkeeper import (
    BaseOAuth2Provider,
    InvalidConfigurationError,
    KeeperClosedError,
    OAuth2TokenManager,
    TokenAcquisitionError,
    TokenKeeper,
    TokenWaitTimeoutError,
    UnknownProviderError,
    get_default_keeper,
    get_default_manager,
    set_default_keeper,
)

pytestmark = pytest.mark.anyio

WRONG_SECRET = TokenAcquisitionError("wrong secret", error="invalid_client", status_code=401)


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    """Run each test under both."""
    return request.param


@pytest.fixture
def manager(keeper):
    return OAuth2TokenManager(keeper)


async def collect(call, into):
    try:
        into.append(await call())
    except TokenAcquisitionError as error:
        into.append(error)


class TestReading:
    """get_token."""

    async def test_both_fronts_hand_out_the_same(self, manager, keeper, source):
        """A token that one front requested is served by the other."""
        assert await manager.get_token("api") == "api-1"
        assert keeper.get_token("api") == "api-1"
        assert await manager.get_token("api", force_refresh=True) == "api-2"
        assert keeper.get_token("api") == "api-2"
        assert manager.keeper is keeper

    def test_a_fresh_token_needs_no_event_loop(self, manager, keeper):
        """A read of a fresh token does not even yield."""
        keeper.get_token("api")
        reading = manager.get_token("api")
        with pytest.raises(StopIteration) as result:
            reading.send(None)
        assert result.value.value == "api-1"

    async def test_inside_the_buffer_nobody_waits(self, manager, source, clock):
        """Inside the buffer tasks get the token immediately, whatever the server does."""
        await manager.get_token("api")
        clock.step(3400)
        source.gate.clear()
        assert await manager.get_token("api") == "api-1"

    async def test_tasks_share_one_request(self, manager, source):
        """Many tasks without a token make one request, and occupy no thread each."""
        source.gate.clear()
        got = []
        threads = threading.active_count()
        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(collect, lambda: manager.get_token("api"), got)
            await anyio.wait_all_tasks_blocked()
            assert threading.active_count() <= threads + 1
            source.gate.set()
        assert got == ["api-1"] * 500
        assert source.requests == 1

    async def test_waiters_share_a_failure(self, manager, source):
        """All waiting tasks get the failure of one request, each as an exception of its own."""
        source.error = WRONG_SECRET
        source.gate.clear()
        got = []
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(collect, lambda: manager.get_token("api"), got)
            await anyio.wait_all_tasks_blocked()
            source.gate.set()
        assert {str(error) for error in got} == {"wrong secret"}
        assert len({id(error) for error in got}) == 50
        assert source.requests == 1

    async def test_unknown_name(self, manager):
        """An unknown name is refused as by the blocking front."""
        with pytest.raises(UnknownProviderError):
            await manager.get_token("nope")

    async def test_refused_tokens(self, manager, source):
        """Many tasks with a rejected token cause one renewal."""
        refused = await manager.get_token("api")
        got = []
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(collect, lambda: manager.renew_refused("api", refused), got)
        assert got == ["api-2"] * 50
        assert source.requests == 2


class TestCancelling:
    """Tasks that give up."""

    @pytest.mark.parametrize("whom", [{0}, {0, 1, 2}, {3, 4}])
    async def test_disturbs_nobody_else(self, manager, source, whom):
        """Cancelling any task, the first one included, leaves the others their token."""
        source.gate.clear()
        got, scopes = [], []

        async def ask():
            with anyio.CancelScope() as scope:
                scopes.append(scope)
                await collect(lambda: manager.get_token("api"), got)

        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            for number in whom:
                scopes[number].cancel()
            await anyio.wait_all_tasks_blocked()
            source.gate.set()
        assert got == ["api-1"] * (5 - len(whom))
        assert source.requests == 1

    async def test_what_was_fetched_is_kept(self, manager, source):
        """The request of a cancelled task continues, and its token serves the next one."""
        source.gate.clear()
        with anyio.move_on_after(0):
            await manager.get_token("api")
        source.gate.set()
        assert await manager.get_token("api") == "api-1"
        assert source.requests == 1

    async def test_timeout(self, manager, source):
        """A task's own timeout is a clear error, and the request continues."""
        source.gate.clear()
        with pytest.raises(TokenWaitTimeoutError):
            await manager.get_token("api", timeout=0)
        source.gate.set()
        assert await manager.get_token("api", timeout=20) == "api-1"
        assert source.requests == 1

    @pytest.mark.parametrize("timeout", [1e12, 1e300, float("inf")])
    async def test_as_long_as_it_takes(self, manager, source, timeout):
        """A timeout of 30,000 years is as good as none."""
        source.gate.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.get_token, "api", False, timeout)
            await anyio.wait_all_tasks_blocked()
            source.gate.set()
        assert manager.get_cached_token_info("api")["state"] == "fresh"


class TestTheRest:
    """The other methods."""

    async def test_refresh_all(self, manager, keeper, source, make_source):
        """Every cached token is renewed, and the result names each provider."""
        bad = make_source("bad")
        manager.add_provider(bad)
        await manager.get_token("api")
        await manager.get_token("bad")
        bad.error = InvalidConfigurationError("gone")
        assert await manager.refresh_all() == {"api": True, "bad": False}

    async def test_registry(self, manager, make_source):
        """Adding, listing, clearing and removing are plain calls."""
        manager.add_provider(make_source("other"))
        assert manager.list_providers() == ["api", "other"]
        await manager.get_token("other")
        assert manager.get_cached_token_info("other")["provider_name"] == "other"
        manager.clear_token("other")
        assert manager.get_cached_token_info("other") is None
        manager.remove_provider("other")
        assert manager.list_providers() == ["api"]
        assert repr(manager) == "<OAuth2TokenManager of <TokenKeeper with 1 providers>>"

    async def test_close(self, clock, make_source):
        """Leaving the block closes the keeper, and with it both fronts."""
        async with OAuth2TokenManager(TokenKeeper(clock=clock)) as manager:
            manager.add_provider(make_source())
            await manager.get_token("api")
        with pytest.raises(KeeperClosedError):
            await manager.get_token("api")
        with pytest.raises(KeeperClosedError):
            manager.keeper.get_token("api")
        await manager.close()

    async def test_closing_releases_tasks(self, manager, keeper, source):
        """Waiting tasks get an error when the keeper closes."""
        source.gate.clear()
        got = []

        async def ask():
            with pytest.raises(KeeperClosedError):
                await manager.get_token("api")
            got.append("told")

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            await anyio.wait_all_tasks_blocked()
            internals.close_coordinator(keeper)
        assert got == ["told"] * 3

    async def test_a_keeper_of_its_own(self):
        """Without a keeper a manager creates one."""
        async with OAuth2TokenManager() as manager:
            assert manager.list_providers() == []


class TestAsyncProviders:
    """Providers written with async def."""

    @pytest.fixture
    def seen(self):
        return []

    @pytest.fixture
    def async_source(self, make_source, seen):
        plain = make_source("async")

        class Async(BaseOAuth2Provider):
            async def acquire_token(self):
                seen.append(threading.current_thread().name)
                await anyio.sleep(0)
                return plain.acquire_token()

            async def refresh_token(self, token):
                return await self.acquire_token()

            async def close(self):
                seen.append("closed")

        return Async("async")

    async def test_from_both_fronts(self, manager, keeper, async_source, seen):
        """Async providers serve both fronts, on the one loop of the library."""
        keeper.add_provider(async_source)
        assert await manager.get_token("async") == "async-1"
        assert keeper.get_token("async") == "async-1"
        assert keeper.get_token("async", force_refresh=True) == "async-2"
        assert await manager.get_token("async", force_refresh=True) == "async-3"
        keeper.remove_provider("async")
        assert seen == ["tokenkeeper-loop"] * 3 + ["closed"]

    async def test_one_that_asks_for_its_own_token(self, manager, async_source):
        """An async provider that needs its own token gets an error, not a deadlock."""

        async def acquire():
            return await manager.get_token("async")

        async_source.acquire_token = acquire
        manager.add_provider(async_source)
        with pytest.raises(TokenAcquisitionError, match="its own token"):
            await manager.get_token("async")


class TestInline:
    """A keeper without a background."""

    @pytest.fixture
    def manager(self, clock, source):
        with TokenKeeper(background=False, clock=clock, jitter=lambda: 0.0) as keeper:
            keeper.add_provider(source)
            yield OAuth2TokenManager(keeper)

    async def test_renews_off_the_loop(self, manager, source, clock):
        """The event loop continues while a caller's renewal is made."""
        source.gate.clear()
        got = []
        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(collect, lambda: manager.get_token("api"), got)
            while not source.entered.acquire(blocking=False):
                await anyio.sleep(0)
            source.gate.set()
        assert got == ["api-1"] * 20
        assert source.requests == 1
        assert await manager.refresh_all() == {"api": True}
        clock.step(3400)
        assert await manager.get_token("api") == "api-3"

    def test_a_host_without_threads(self, manager, monkeypatch, anyio_backend):
        """If no thread can be started, the renewal is made on the loop."""

        def refuse(self):
            raise RuntimeError("can't start new thread")

        async def main():
            monkeypatch.setattr(threading.Thread, "start", refuse)
            return await manager.get_token("api")

        # In its own run, because the test runner's trio needs threads to wait.
        assert anyio.run(main, backend=anyio_backend) == "api-1"


class TestDefault:
    """The default manager."""

    @pytest.fixture(autouse=True)
    def no_default(self, monkeypatch):
        monkeypatch.setattr(default_module, "_default", None)
        monkeypatch.setattr(manager_module, "_default", None)

    async def test_stands_before_the_default_keeper(self):
        """The two defaults are two fronts of one set of tokens."""
        manager = get_default_manager()
        assert manager is get_default_manager()
        assert manager.keeper is get_default_keeper()
        await manager.close()
        assert get_default_manager() is not manager
        await get_default_manager().close()

    async def test_can_be_one_of_the_application(self):
        """An application's own keeper can be the default one, and be replaced again."""
        first, second = TokenKeeper(), TokenKeeper()
        assert set_default_keeper(first) is None
        assert get_default_manager().keeper is get_default_keeper() is first
        assert set_default_keeper(second) is first
        assert get_default_manager().keeper is second
        assert not first.is_closed
        first.close()
        second.close()
        assert get_default_keeper() not in (first, second)
        await get_default_manager().close()

    def test_must_be_a_keeper(self):
        """A manager in place of a keeper is refused, and the error says what to pass instead."""
        with pytest.raises(InvalidConfigurationError, match="attribute keeper"):
            set_default_keeper(get_default_manager())
        get_default_keeper().close()


async def test_no_coroutine_is_left_behind(manager):
    """A refused call leaves no coroutine that was never awaited."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UnknownProviderError):
            await manager.get_token("nope")
