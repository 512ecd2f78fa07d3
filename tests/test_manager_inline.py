"""The async front of a keeper without a background, and of one whose block is cancelled."""

import threading

import anyio
import anyio.to_thread
import pytest

from tokenkeeper import OAuth2TokenManager, TokenKeeper

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param


@pytest.fixture
def inline(clock, source):
    """Return a manager of a keeper that renews inline."""
    with TokenKeeper(clock=clock, background=False) as keeper:
        keeper.add_provider(source)
        yield OAuth2TokenManager(keeper)
        source.gate.set()


class Exhausted:
    """All threads of anyio's default limiter, occupied by other work."""

    def __init__(self, tasks):
        self._tasks = tasks
        self._go_on = threading.Event()

    async def __aenter__(self):
        limiter = anyio.to_thread.current_default_thread_limiter()
        for _ in range(int(limiter.total_tokens)):
            self._tasks.start_soon(anyio.to_thread.run_sync, self._go_on.wait, 30)
        while limiter.available_tokens:
            await anyio.sleep(0.001)

    async def __aexit__(self, *exc_info):
        self._go_on.set()


CALLS = {
    "get_token": lambda manager: manager.get_token("api"),
    "get_oauth2_token": lambda manager: manager.get_oauth2_token("api"),
    "renew_refused": lambda manager: manager.renew_refused("api", "refused"),
    "refresh_all": lambda manager: manager.refresh_all(),
    "close": lambda manager: manager.close(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_the_default_limiter_is_exhausted(inline, call):
    """Tokens and close() don't wait for other work in the application's threads."""
    async with anyio.create_task_group() as tasks, Exhausted(tasks):
        with anyio.fail_after(20):
            await CALLS[call](inline)


async def test_a_call_that_is_cancelled(inline, source):
    """A task that is cancelled returns immediately; its request's token serves the next one."""
    source.gate.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(inline.get_token, "api")
        assert await anyio.to_thread.run_sync(source.entered.acquire, True, 20)
        with anyio.fail_after(20):
            tasks.cancel_scope.cancel()
    source.gate.set()
    with anyio.fail_after(20):
        assert await inline.get_token("api") == "api-1"
    assert source.requests == 1


async def test_waiters_that_are_cancelled(inline, source):
    """Some of the tasks that wait for one request are cancelled; the others get the token."""
    source.gate.clear()
    tokens = []

    async def ask():
        tokens.append(await inline.get_token("api"))

    async with anyio.create_task_group() as others:
        others.start_soon(ask)
        assert await anyio.to_thread.run_sync(source.entered.acquire, True, 20)
        async with anyio.create_task_group() as doomed:
            for _ in range(10):
                doomed.start_soon(ask)
                others.start_soon(ask)
            await anyio.sleep(0.01)
            doomed.cancel_scope.cancel()
        assert tokens == []
        source.gate.set()
    assert tokens == ["api-1"] * 11
    assert source.requests == 1


@pytest.mark.parametrize("background", [True, False])
async def test_cancelled_inside_the_block(clock, source, background):
    """A block that is cancelled closes its keeper and the keeper's providers before it ends."""
    keeper = TokenKeeper(clock=clock, background=background)
    keeper.add_provider(source)
    with anyio.CancelScope() as scope:
        async with OAuth2TokenManager(keeper) as manager:
            await manager.get_token("api")
            scope.cancel()
            await anyio.sleep(20)
    assert scope.cancelled_caught
    assert keeper.is_closed
    assert source.closed == 1


async def test_cancelled_while_it_waits_for_a_token(clock, source):
    """The same during a request."""
    keeper = TokenKeeper(clock=clock)
    keeper.add_provider(source)
    source.gate.clear()
    async with anyio.create_task_group() as tasks:

        async def live():
            async with OAuth2TokenManager(keeper) as manager:
                await manager.get_token("api")

        tasks.start_soon(live)
        assert await anyio.to_thread.run_sync(source.entered.acquire, True, 20)
        tasks.cancel_scope.cancel()
        source.gate.set()
    assert keeper.is_closed
    assert source.closed == 1
