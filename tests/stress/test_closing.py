"""close() at any moment: waiting callers get an error immediately, and nothing keeps running."""

import random
import threading
import time

import anyio
import pytest
from kit import internals

from tokenkeeper import KeeperClosedError, OAuth2TokenManager, RetryPolicy, TokenAcquisitionError


@pytest.fixture
def source(kit):
    return kit.Source()


@pytest.fixture
def keeper(make_keeper, source):
    return make_keeper(source)


def tasks_in(backend, manager, count):
    """Request the token in *count* tasks; return the result of each."""

    async def main():
        results = []

        async def ask():
            try:
                results.append(await manager.get_token("api"))
            except KeeperClosedError as error:
                results.append(error)

        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(ask)
        return results

    return anyio.run(main, backend=backend)


def test_close_while_threads_and_tasks_wait(kit, keeper, source):
    """Forty callers that wait for a server that hangs get an error each, immediately."""
    source.hold()
    manager = OAuth2TokenManager(keeper)
    threads = kit.crowd(20, lambda: keeper.get_token("api"))
    loops = kit.Crowd(
        lambda: tasks_in("asyncio", manager, 10), lambda: tasks_in("trio", manager, 10)
    )
    kit.until(lambda: kit.threads_waiting(keeper) == 20 and kit.tasks_waiting(keeper) == 20)
    keeper.close()
    errors = threads.join() + [error for errors in loops.join() for error in errors]
    assert {type(error) for error in errors} == {KeeperClosedError}
    assert len({id(error) for error in errors}) == 40
    assert not source.gate.is_set()
    with pytest.raises(KeeperClosedError):
        keeper.get_token("api")


@pytest.mark.parametrize("forget", ["clear_token", "remove_provider"])
def test_close_after_the_token_was_forgotten(kit, keeper, source, forget):
    """close() also reaches callers that wait for a flight which clear_token() discarded."""
    source.hold()
    waiting = kit.crowd(4, lambda: keeper.get_token("api"))
    kit.until(lambda: kit.threads_waiting(keeper) == 4)
    getattr(keeper, forget)("api")
    keeper.close()
    assert {type(error) for error in waiting.join()} == {KeeperClosedError}


def test_close_before_a_forgotten_flight_began(kit, make_keeper):
    """close() also reaches callers of a flight that no worker has started."""
    busy, late = kit.Source("busy"), kit.Source("late")
    keeper = make_keeper(busy, late, max_workers=1)
    busy.hold()
    waiting = [kit.crowd(4, lambda: keeper.get_token("busy"))]
    assert busy.entered.wait(kit.GUARD_SECONDS)
    waiting.append(kit.crowd(4, lambda: keeper.get_token("late")))
    kit.until(lambda: kit.threads_waiting(keeper, "late") == 4)
    keeper.clear_token()
    keeper.close()
    busy.gate.set()
    results = [result for crowd in waiting for result in crowd.join()]
    assert {type(error) for error in results[4:]} == {KeeperClosedError}
    assert late.requests == 0


def test_close_ends_the_wait_before_a_retry(kit, make_keeper):
    """A caller that waits for a retry gets the error immediately, and the worker ends."""
    policy = RetryPolicy(max_retry_after_seconds=1000, total_seconds=10_000)
    source = kit.Source(retry=policy)
    source.error = TokenAcquisitionError("503", status_code=503, retry_after=900)
    keeper = make_keeper(source)
    crowd = kit.crowd(20, lambda: keeper.get_token("api"))
    kit.until(lambda: internals.retries_waiting(keeper) == 1 and kit.threads_waiting(keeper) == 20)
    workers = internals.worker_threads(keeper)
    keeper.close()
    assert {type(error) for error in crowd.join()} == {KeeperClosedError}
    for thread in workers:
        thread.join(kit.GUARD_SECONDS)
        assert not thread.is_alive()
    assert source.requests == 1


def test_close_again_and_again(kit, keeper, source):
    """Twenty threads that call close() at once, twice each, close once."""
    closed = []
    source.close = lambda: closed.append(1)
    keeper.get_token("api")
    threads = [internals.scheduler_thread(keeper), *internals.worker_threads(keeper)]

    def close():
        keeper.close()
        keeper.close()
        return keeper.is_closed

    assert kit.crowd(20, close).join() == [True] * 20
    assert closed == [1]
    for thread in threads:
        thread.join(kit.GUARD_SECONDS)
        assert not thread.is_alive()


def test_close_in_the_thick_of_it(kit, make_keeper):
    """Every other call at that moment returns a token or raises an error."""
    draw = random.Random(3)
    for _ in range(30):
        sources = [kit.Source("plain"), kit.AsyncSource("async")]
        keeper = make_keeper(*sources)
        manager = OAuth2TokenManager(keeper)

        def until_closed(call):
            ends = time.monotonic() + kit.GUARD_SECONDS
            while time.monotonic() < ends:
                try:
                    call()
                except KeeperClosedError:
                    return True
            return False

        calls = [
            lambda keeper=keeper: keeper.get_token("plain"),
            lambda keeper=keeper: keeper.get_token("async"),
            lambda keeper=keeper: keeper.get_token("plain", force_refresh=True),
            lambda keeper=keeper: keeper.clear_token("plain"),
            lambda keeper=keeper: keeper.refresh_all() or keeper.list_providers(),
            lambda manager=manager: anyio.run(manager.get_token, "async", True),
        ]
        crowd = kit.Crowd(*(lambda call=call: until_closed(call) for call in calls))
        threading.Event().wait(draw.random() * 0.02)
        keeper.close()
        assert crowd.join() == [True] * len(calls)
        assert not internals.flights(keeper)
        assert not internals.cache(keeper)


def test_a_provider_that_closes_its_keeper(kit, make_keeper):
    """close() returns even from inside a request, and waiting callers get an error."""

    class Closing(kit.Source):
        def acquire_token(self):
            keeper.close()
            return super().acquire_token()

    keeper = make_keeper(Closing())
    crowd = kit.crowd(8, lambda: keeper.get_token("api"))
    assert {type(error) for error in crowd.join()} == {KeeperClosedError}
