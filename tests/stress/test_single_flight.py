"""Any number of threads, tasks and event loops that need one token share one request."""

import asyncio
import random
import threading

import anyio
import pytest
import trio
import trio.testing

from tokenkeeper import OAuth2TokenManager, TokenAcquisitionError, TokenWaitTimeoutError


@pytest.fixture
def source(kit):
    return kit.Source()


@pytest.fixture
def keeper(make_keeper, source):
    return make_keeper(source)


async def all_waiting(kit, keeper, count):
    """Wait until *count* tasks wait for the flight."""
    with anyio.fail_after(kit.GUARD_SECONDS):
        while kit.tasks_waiting(keeper) < count:
            await anyio.sleep(0.001)


def test_200_threads(kit, keeper, source):
    """Two hundred threads without a token cause one request and all get its token."""
    source.hold()
    crowd = kit.crowd(200, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 200)
    source.gate.set()
    assert set(crowd.join()) == set(source.granted)
    assert source.requests == 1


def test_200_threads_that_do_not_wait_for_each_other(kit, keeper, source):
    """The same holds if the server answers immediately, so that some arrive afterwards."""
    assert set(kit.crowd(200, lambda: keeper.get_token("api")).join()) == set(source.granted)
    assert source.requests == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_5000_tasks(kit, keeper, source, backend):
    """Five thousand tasks without a token cause one request, and occupy no thread."""
    source.hold()
    manager = OAuth2TokenManager(keeper)
    tokens = []
    before = threading.active_count()

    async def ask():
        tokens.append(await manager.get_token("api"))

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(5000):
                tasks.start_soon(ask)
            await all_waiting(kit, keeper, 5000)
            assert threading.active_count() - before <= 2
            source.gate.set()

    anyio.run(main, backend=backend)
    assert len(tokens) == 5000
    assert set(tokens) == set(source.granted)
    assert source.requests == 1


def test_every_kind_of_waiter_at_once(kit, keeper, source):
    """Threads, two asyncio loops and trio share one request and one token."""
    source.hold()
    manager = OAuth2TokenManager(keeper)

    def loop(backend):
        async def main():
            tokens = []

            async def ask():
                tokens.append(await manager.get_token("api"))

            async with anyio.create_task_group() as tasks:
                for _ in range(300):
                    tasks.start_soon(ask)
            return tokens

        return anyio.run(main, backend=backend)

    threads = kit.crowd(32, lambda: [keeper.get_token("api")])
    loops = kit.Crowd(*(lambda b=backend: loop(b) for backend in ("asyncio", "asyncio", "trio")))
    kit.until(lambda: kit.threads_waiting(keeper) == 32 and kit.tasks_waiting(keeper) == 900)
    source.gate.set()
    tokens = [token for each in threads.join() + loops.join() for token in each]
    assert len(tokens) == 32 + 900
    assert set(tokens) == set(source.granted)
    assert source.requests == 1


def test_cancelled_asyncio_tasks_disturb_no_other(kit, keeper, source):
    """The task that started the flight and half of the others are cancelled; others get a token."""
    source.hold()
    manager = OAuth2TokenManager(keeper)

    async def main():
        first = asyncio.create_task(manager.get_token("api"))
        await all_waiting(kit, keeper, 1)
        others = [asyncio.create_task(manager.get_token("api")) for _ in range(199)]
        await all_waiting(kit, keeper, 200)
        doomed = {first, *random.sample(others, 100)}
        for task in doomed:
            task.cancel()
        await asyncio.wait(doomed)
        source.gate.set()
        assert all(task.cancelled() for task in doomed)
        return await asyncio.gather(*(task for task in others if task not in doomed))

    tokens = asyncio.run(main())
    assert len(tokens) == 99
    assert set(tokens) == set(source.granted)
    assert source.requests == 1


def test_cancelled_trio_tasks_disturb_no_other(kit, keeper, source):
    """The same under trio."""
    source.hold()
    manager = OAuth2TokenManager(keeper)
    tokens = []

    async def ask(scope):
        with scope:
            tokens.append(await manager.get_token("api"))

    async def main():
        scopes = [trio.CancelScope() for _ in range(200)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, scopes[0])
            await all_waiting(kit, keeper, 1)
            for scope in scopes[1:]:
                nursery.start_soon(ask, scope)
            await all_waiting(kit, keeper, 200)
            for scope in (scopes[0], *random.sample(scopes[1:], 100)):
                scope.cancel()
            await trio.testing.wait_all_tasks_blocked()
            source.gate.set()

    trio.run(main)
    assert len(tokens) == 99
    assert set(tokens) == set(source.granted)
    assert source.requests == 1


def test_every_waiter_cancelled(kit, keeper, source):
    """Without waiting callers the flight still completes, and its token serves later callers."""
    source.hold()
    manager = OAuth2TokenManager(keeper)

    async def main():
        tasks = [asyncio.create_task(manager.get_token("api")) for _ in range(50)]
        await all_waiting(kit, keeper, 50)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    asyncio.run(main())
    source.gate.set()
    kit.until(lambda: kit.flight_of(keeper) is None)
    assert keeper.get_token("api") in source.granted
    assert source.requests == 1


def test_an_event_loop_that_ended_holds_up_nobody(kit, keeper, source):
    """A loop that has ended meanwhile is skipped; threads get their token."""
    source.hold()
    manager = OAuth2TokenManager(keeper)
    crowd = kit.crowd(4, lambda: keeper.get_token("api"))

    async def give_up():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(manager.get_token, "api")
            await all_waiting(kit, keeper, 1)
            tasks.cancel_scope.cancel()

    for backend in ("asyncio", "trio"):
        anyio.run(give_up, backend=backend)
    kit.until(lambda: kit.threads_waiting(keeper) == 4)
    source.gate.set()
    assert set(crowd.join()) == set(source.granted)


def test_an_event_loop_that_is_stuck_holds_up_nobody(kit, keeper, source):
    """A loop that blocks with a waiting task delays neither threads nor other loops."""
    source.hold()
    manager = OAuth2TokenManager(keeper)
    stuck, free = threading.Event(), threading.Event()

    async def block_the_loop():
        waiter = asyncio.create_task(manager.get_token("api"))
        await all_waiting(kit, keeper, 1)
        stuck.set()
        assert free.wait(kit.GUARD_SECONDS)
        return await waiter

    blocked = kit.Crowd(lambda: asyncio.run(block_the_loop()))
    assert stuck.wait(kit.GUARD_SECONDS)
    others = kit.crowd(8, lambda: asyncio.run(manager.get_token("api")))
    threads = kit.crowd(8, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 8)
    source.gate.set()
    served = set(others.join()) | set(threads.join())
    free.set()
    assert served == set(blocked.join()) == set(source.granted)


def test_threads_that_time_out_disturb_no_other(kit, keeper, source):
    """Each caller waits for its own timeout; the flight continues for the others."""
    source.hold()
    patient = kit.crowd(20, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 20)
    hasty = kit.crowd(20, lambda: keeper.get_token("api", timeout=0.02)).join()
    assert {type(error) for error in hasty} == {TokenWaitTimeoutError}
    assert len({id(error) for error in hasty}) == 20
    source.gate.set()
    assert set(patient.join()) == set(source.granted)
    assert source.requests == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_that_time_out_disturb_no_other(kit, keeper, source, backend):
    """The caller that started the flight times out; the flight continues."""
    source.hold()
    manager = OAuth2TokenManager(keeper)
    served, late = [], []

    async def ask(timeout):
        try:
            served.append(await manager.get_token("api", timeout=timeout))
        except TokenWaitTimeoutError as error:
            late.append(error)

    async def main():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, 0.05)
            with anyio.fail_after(kit.GUARD_SECONDS):
                while not source.entered.is_set():  # it may no longer wait: 0.05 s pass quickly
                    await anyio.sleep(0.001)
            for index in range(100):
                tasks.start_soon(ask, None if index % 2 else 0.02)
            with anyio.fail_after(kit.GUARD_SECONDS):
                while len(late) < 51:
                    await anyio.sleep(0.001)
            source.gate.set()

    anyio.run(main, backend=backend)
    assert len(late) == 51
    assert len(served) == 50
    assert set(served) == set(source.granted)
    assert source.requests == 1


@pytest.mark.parametrize(
    "failure", [TokenAcquisitionError("no", error="invalid_client"), LookupError("no")]
)
def test_waiters_share_a_failure(kit, keeper, source, failure):
    """One request fails for all callers; each raises an object of its own with the same cause."""
    root = LookupError("the root")
    if isinstance(failure, TokenAcquisitionError):
        failure.__cause__ = root
    else:
        root = failure
    source.error = failure
    source.hold()
    manager = OAuth2TokenManager(keeper)
    errors = []

    async def main():
        async def ask():
            with pytest.raises(TokenAcquisitionError) as caught:
                await manager.get_token("api")
            errors.append(caught.value)

        async with anyio.create_task_group() as tasks:
            for _ in range(64):
                tasks.start_soon(ask)

    crowd = kit.crowd(64, lambda: keeper.get_token("api"))
    loop = kit.Crowd(lambda: asyncio.run(main()))
    kit.until(lambda: kit.threads_waiting(keeper) == 64 and kit.tasks_waiting(keeper) == 64)
    source.gate.set()
    errors += crowd.join()
    assert loop.join() == [None]
    assert len({id(error) for error in errors}) == 128
    assert {type(error) for error in errors} == {TokenAcquisitionError}
    assert len({str(error) for error in errors}) == 1
    assert all(error.__cause__ is root for error in errors)
    assert source.requests == 1
