"""Hosts that start no threads: tokens are renewed inline, without errors."""

import asyncio
import threading

import anyio
import pytest

from tokenkeeper import OAuth2TokenManager
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    return SteppedClock(auto_step=True)


@pytest.fixture
def source(kit, clock):
    return kit.Source(clock=clock)


@pytest.fixture
def keeper(make_keeper, source, clock):
    return make_keeper(source, clock=clock)


@pytest.fixture
def no_threads(monkeypatch):
    """Make every start of a thread fail, as WebAssembly and some sandboxes do."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_blocking_callers(keeper, source, clock):
    """A first token, one inside the buffer and one after expiry are all renewed inline."""
    first = keeper.get_token("api")
    assert keeper.get_token("api") == first
    clock.step(3400.0)
    renewed = keeper.get_token("api")
    assert renewed != first
    clock.step(5000.0)
    assert keeper.get_token("api") not in (first, renewed)
    assert keeper.refresh_all() == {"api": True}
    assert keeper.renew_refused("api", keeper.get_token("api")) in source.granted
    assert source.requests == 5


@pytest.mark.usefixtures("no_threads")
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks(keeper, source, clock, backend):
    """The facade works as well, from the first token to close()."""
    manager = OAuth2TokenManager(keeper)

    async def main():
        first = await manager.get_token("api")
        assert await manager.get_token("api") == first
        clock.step(3400.0)
        assert await manager.get_token("api") != first
        clock.step(5000.0)
        tokens = set()

        async def ask():
            tokens.add(await manager.get_token("api"))

        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(ask)
        assert len(tokens) == 1
        assert await manager.refresh_all() == {"api": True}
        assert await manager.renew_refused("api", await manager.get_token("api"))
        await manager.close()

    anyio.run(main, backend=backend)
    assert source.requests == 5


def test_the_first_caller_in_the_buffer_renews(kit, make_keeper, source, clock):
    """Without a background one of many callers renews, and the others use the current token."""
    keeper = make_keeper(source, clock=clock, background=False)
    first = keeper.get_token("api")
    clock.step(3400.0)
    source.hold()
    renewing = kit.Crowd(lambda: keeper.get_token("api"))
    assert source.entered.wait(kit.GUARD_SECONDS)
    assert kit.crowd(20, lambda: keeper.get_token("api")).join() == [first] * 20
    manager = OAuth2TokenManager(keeper)
    assert asyncio.run(manager.get_token("api")) == first
    source.gate.set()
    assert renewing.join() != [first]
    assert source.requests == 2


def test_a_crowd_without_a_background(kit, make_keeper, source, clock):
    """One request serves many threads and tasks."""
    keeper = make_keeper(source, clock=clock, background=False)
    manager = OAuth2TokenManager(keeper)
    source.hold()

    async def main():
        tokens = []

        async def ask():
            tokens.append(await manager.get_token("api"))

        async with anyio.create_task_group() as tasks:
            for _ in range(500):
                tasks.start_soon(ask)
        return tokens

    threads = kit.crowd(30, lambda: keeper.get_token("api"))
    loops = kit.crowd(2, lambda: anyio.run(main))
    kit.until(lambda: kit.threads_waiting(keeper) + kit.tasks_waiting(keeper) == 1029)
    source.gate.set()
    tokens = threads.join() + [token for each in loops.join() for token in each]
    assert set(tokens) == set(source.granted)
    assert source.requests == 1


def test_threads_run_out_and_come_back(kit, make_keeper, monkeypatch):
    """A host that runs out of threads for a while costs no caller a token."""
    sources = [kit.Source(f"api {number}") for number in range(20)]
    keeper = make_keeper(*sources)
    keeper.get_token("api 0")
    start = threading.Thread.start
    crowd_is_here = threading.Event()

    def refuse_ours(thread):
        if thread.name.startswith("tokenkeeper"):
            raise RuntimeError("can't start new thread")
        start(thread)

    def ask(name):
        crowd_is_here.wait(kit.GUARD_SECONDS)
        return keeper.get_token(name)

    crowd = kit.Crowd(*(lambda name=source.provider_name: ask(name) for source in sources))
    monkeypatch.setattr(threading.Thread, "start", refuse_ours)
    crowd_is_here.set()
    results = crowd.join()
    monkeypatch.undo()
    assert results == [next(iter(source.granted)) for source in sources]
    assert all(source.requests == 1 for source in sources)
