"""One renewal in flight, and the callers that wait for it."""

import asyncio
import math
import threading
from contextlib import suppress

import anyio
import pytest
import trio
from kit.guards import until

from tokenkeeper._renewal.flight import Flight
from tokenkeeper.exceptions import KeeperClosedError, TokenAcquisitionError


def test_threads_wait_for_the_result():
    """Threads that wait get the result once the flight is complete."""
    flight, results, waiting = Flight(), [], threading.Barrier(9)

    def wait():
        waiting.wait(10)
        assert flight.wait(10)
        results.append(flight.result())

    threads = [threading.Thread(target=wait) for _ in range(8)]
    for thread in threads:
        thread.start()
    waiting.wait(10)
    assert not flight.is_settled
    flight.succeed("token")
    for thread in threads:
        thread.join(10)
    assert results == ["token"] * 8
    assert flight.is_settled


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
    """A thread's wait may time out and leaves nothing behind, and the flight continues."""
    flight = Flight()
    assert flight.wait(0) is False
    assert not flight._waiters
    flight.succeed("token")
    assert flight.wait(0) is True


def test_the_first_outcome_counts():
    """The outcome of a completed flight does not change."""
    flight = Flight()
    flight.fail(KeeperClosedError("closed"))
    flight.succeed("token")
    flight.fail(TokenAcquisitionError("no"))
    with pytest.raises(KeeperClosedError):
        flight.result()


def test_one_thread_runs_it():
    """Only the first claim succeeds, and the others don't wait."""
    flight = Flight()
    assert [flight.claim() for _ in range(3)] == [True, False, False]


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
    """Any number of tasks on a loop cause one wake-up, and a late task does not wait."""
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
        threading.Thread(target=run, args=arguments, daemon=True)
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
    until(lambda: len(flight._waiters) == 4, "that all four wait")
    assert len(flight._loops) == 3
    flight.succeed("token")
    for thread in threads:
        thread.join(10)
    assert got == ["token"] * 4


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_loop_that_is_gone_holds_nobody_up(run):
    """A loop that ended while its task waited is skipped."""
    flight = Flight()

    async def give_up():
        with anyio.move_on_after(0):
            await flight.wait_async()

    run(give_up() if run is asyncio.run else give_up)
    flight.succeed("token")
    assert flight.result() == "token"


class Meeting(Flight):
    """A flight whose outcome two threads read at once, if nothing keeps them apart."""

    def __init__(self):
        self.both = threading.Barrier(2)
        self.written = None
        self.writes = 0
        super().__init__()

    @property
    def _outcome(self):
        seen = self.written
        if seen is None:
            with suppress(threading.BrokenBarrierError):
                self.both.wait(0.2)
        return seen

    @_outcome.setter
    def _outcome(self, outcome):
        if outcome is not None:
            self.written = outcome
            self.writes += 1


@pytest.mark.parametrize("fails", [True, False])
def test_two_threads_settle_it_once(fails):
    """If two threads complete a flight at once, the first outcome counts."""
    flight, start, seen = Meeting(), threading.Barrier(2), []

    def complete(outcome):
        start.wait(10)
        if fails:
            flight.fail(TokenAcquisitionError(outcome))
        else:
            flight.succeed(outcome)
        seen.append(flight.written)

    threads = [threading.Thread(target=complete, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert seen == [flight.written] * 2
    assert flight.writes == 1


class LandsAtTheDoor(Flight):
    """A flight that another thread completes right before a waiter is registered."""

    def wait_and_settle(self):
        self._lock = self

    def __enter__(self):
        self._lock = threading.Lock()
        completing = threading.Thread(target=self.succeed, args=("token",))
        completing.start()
        completing.join(10)
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


class TestLandingBeforeTheRegistration:
    """A flight may complete between a waiter's first check and its registration."""

    def test_a_thread(self):
        """A thread does not wait for a flight that is complete."""
        flight, waited = LandsAtTheDoor(), []
        flight.wait_and_settle()
        waiter = threading.Thread(target=lambda: waited.append(flight.wait(None)), daemon=True)
        waiter.start()
        waiter.join(10)
        assert waited == [True]
        assert not flight._waiters

    @pytest.mark.parametrize("backend", ["asyncio", "trio"])
    @pytest.mark.parametrize("door", [1, 2])
    def test_a_task(self, backend, door):
        """Neither does a task, at both of its two steps."""
        flight = LandsAtTheDoor()
        enlist = flight._enlist

        def enlist_late(*arguments):
            flight.wait_and_settle()
            return enlist(*arguments)

        if door == 1:
            flight.wait_and_settle()
        else:
            flight._enlist = enlist_late

        async def main():
            with anyio.fail_after(10):
                await flight.wait_async()

        anyio.run(main, backend=backend)
        assert flight.result() == "token"
        assert not flight._waiters


@pytest.mark.parametrize("timeout", [1e12, threading.TIMEOUT_MAX * 2, 1e300, math.inf])
def test_a_wait_longer_than_the_system_knows(timeout):
    """A timeout of 30,000 years is accepted."""
    flight, waited, waiting = Flight(), [], threading.Event()

    def wait():
        waiting.set()
        waited.append(flight.wait(timeout))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    flight.succeed("token")
    thread.join(10)
    assert waited == [True]
