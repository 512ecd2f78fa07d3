"""One renewal in flight, and everybody who waits for it."""

import asyncio
import math
import threading

import anyio
import pytest
import trio

from tokenkeeper.exceptions import KeeperClosedError, TokenAcquisitionError
from tokenkeeper.flight import Flight


def test_threads_wait_for_the_result():
    """Threads that wait get the result once it lands."""
    flight, results, waiting = Flight(), [], threading.Barrier(9)

    def wait():
        waiting.wait(10)
        assert flight.wait(10)
        results.append(flight.result())

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    assert not flight.landed
    flight.succeed("token")
    for thread in threads:
        thread.join(10)
    assert results == ["token"] * 8
    assert flight.landed


def test_each_waiter_raises_an_error_of_its_own():
    """A failure is shared, the exception object is not."""
    flight = Flight()
    flight.fail(TokenAcquisitionError("no"))
    seen = []
    for _ in range(3):
        with pytest.raises(TokenAcquisitionError, match="no") as caught:
            flight.result()
        seen.append(caught.value)
    assert len({id(error) for error in seen}) == 3


def test_a_wait_may_end_first():
    """A thread that gives up is told so, and the flight goes on."""
    flight = Flight()
    assert flight.wait(0) is False
    flight.succeed("token")
    assert flight.wait(0) is True


def test_the_first_landing_counts():
    """A flight that has landed stays as it landed."""
    flight = Flight()
    flight.fail(KeeperClosedError("closed"))
    flight.succeed("token")
    flight.fail(TokenAcquisitionError("no"))
    with pytest.raises(KeeperClosedError):
        flight.result()


def test_wanted_as_long_as_somebody_waits():
    """The waiter with the latest deadline decides how long the flight is wanted."""
    flight = Flight()
    assert not flight.is_wanted_at(-1e9)
    flight.join(10.0)
    flight.join(5.0)
    assert flight.is_wanted_at(10.0)
    assert not flight.is_wanted_at(math.nextafter(10.0, 11))
    flight.join(math.inf)
    assert flight.is_wanted_at(1e300)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_tasks_share_one_event(backend):
    """However many tasks wait on a loop, it is woken once; a late one does not wait at all."""
    flight = Flight()

    async def main():
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(flight.wait_async)
            await anyio.wait_all_tasks_blocked()
            assert len(flight._loops) == 1
            threading.Thread(target=flight.succeed, args=("token",)).start()
        await flight.wait_async()

    anyio.run(main, backend=backend)
    assert flight.result() == "token"


def test_loops_and_threads_wait_together():
    """Two asyncio loops, trio and a thread all get one flight's result."""
    flight, ready, got = Flight(), threading.Barrier(5), []

    async def on_loop():
        ready.wait(10)
        await flight.wait_async()
        got.append(flight.result())

    def on_thread():
        ready.wait(10)
        flight.wait(10)
        got.append(flight.result())

    threads = [
        threading.Thread(target=run, args=arguments)
        for run, *arguments in (
            (lambda: asyncio.run(on_loop()),),
            (lambda: asyncio.run(on_loop()),),
            (lambda: trio.run(on_loop),),
            (on_thread,),
        )
    ]
    for thread in threads:
        thread.start()
    ready.wait(10)
    flight.succeed("token")
    for thread in threads:
        thread.join(10)
    assert got == ["token"] * 4


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_loop_that_is_gone_holds_nobody_up(run):
    """A loop that ended while its task waited is passed over."""
    flight = Flight()

    async def give_up():
        with anyio.move_on_after(0):
            await flight.wait_async()

    run(give_up() if run is asyncio.run else give_up)
    flight.succeed("token")
    assert flight.result() == "token"


def test_landing_twice_from_two_threads_is_one_landing():
    """Of two that land a flight at once, exactly one outcome stands."""
    for _ in range(50):
        flight, start = Flight(), threading.Barrier(2)

        def land(outcome, flight=flight, start=start):
            start.wait(10)
            flight.succeed(outcome)

        threads = [threading.Thread(target=land, args=(n,)) for n in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert flight.result() in (0, 1)
