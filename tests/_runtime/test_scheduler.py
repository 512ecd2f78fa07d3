"""The schedule: one heap, one event, one thread."""

import math
import queue
import random
import threading

import pytest

from tokenkeeper._runtime.scheduler import LONGEST_NAP_SECONDS, Scheduler
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def scheduler(clock):
    scheduler = Scheduler(clock, lambda name: None)
    yield scheduler
    scheduler.close(timeout=5)


def test_takes_what_is_due_in_order(clock, scheduler):
    """Keys are returned when they are due, the earliest first, and once."""
    now = clock.monotonic()
    for name, after in (("c", 3), ("a", 1), ("b", 2), ("d", 4)):
        scheduler.schedule(name, now + after)
    assert scheduler.take_due() == []
    clock.step(3)
    assert scheduler.take_due() == ["a", "b", "c"]
    assert scheduler.take_due() == []


def test_due_to_the_tick(clock, scheduler):
    """A key is due exactly at its time, and not one tick before."""
    due_at = clock.monotonic() + 10
    scheduler.schedule("a", due_at)
    clock.step(math.nextafter(due_at, 0) - clock.monotonic())
    assert scheduler.take_due() == []
    clock.step(due_at - clock.monotonic())
    assert scheduler.take_due() == ["a"]


def test_the_latest_time_counts(clock, scheduler):
    """A key that is scheduled again is due at the new time only, and a removed one never."""
    now = clock.monotonic()
    scheduler.schedule("a", now + 1)
    scheduler.schedule("a", now + 5)
    scheduler.schedule("b", now + 1)
    scheduler.forget("b")
    scheduler.forget("unknown")
    clock.step(2)
    assert scheduler.take_due() == []
    clock.step(3)
    assert scheduler.take_due() == ["a"]


def test_the_heap_does_not_grow_with_what_was_rescheduled(clock, scheduler):
    """Outdated entries are removed from the heap."""
    now = clock.monotonic()
    draw = random.Random(7)
    for _ in range(10_000):
        scheduler.schedule(str(draw.randrange(10)), now + draw.random())
    assert len(scheduler._heap) <= 2 * 10 + 16
    clock.step(2)
    assert sorted(scheduler.take_due()) == [str(n) for n in range(10)]


def test_thread_renews_what_becomes_due(clock):
    """Once started, the thread passes on keys as the clock reaches them."""
    renewed = threading.Semaphore(0)
    names = []

    def renew(name):
        names.append(name)
        renewed.release()

    scheduler = Scheduler(clock, renew)
    scheduler.schedule("late", clock.monotonic() + 1000)
    scheduler.start()
    scheduler.start()
    assert scheduler.is_running
    while not clock.waiting:  # it waits until the later one, or a minute
        threading.Event().wait(0.001)
    scheduler.schedule("soon", clock.monotonic() + 10)
    clock.step(10)
    assert renewed.acquire(timeout=10)
    clock.step(990)
    assert renewed.acquire(timeout=10)
    assert names == ["soon", "late"]
    scheduler.close(timeout=10)
    assert not scheduler.is_running


def test_thread_survives_a_bug(clock, caplog):
    """A renewal that raises is logged, and the next one is made anyway."""
    renewed = threading.Event()

    def renew(name):
        if name == "bad":
            raise ZeroDivisionError
        renewed.set()

    scheduler = Scheduler(clock, renew)
    scheduler.schedule("bad", clock.monotonic())
    scheduler.schedule("good", clock.monotonic() + 1)
    scheduler.start()
    clock.step(1)
    assert renewed.wait(10)
    scheduler.close(timeout=10)
    assert "'bad'" in caplog.text


def test_close_ends_the_thread_and_the_start(clock, scheduler):
    """A closed scheduler has no thread, and can't be started again."""
    scheduler.start()
    thread = scheduler._thread
    scheduler.close(timeout=10)
    assert not thread.is_alive()
    scheduler.start()
    assert not scheduler.is_running
    scheduler.close(timeout=10)


def test_without_a_thread_the_event_is_not_used(clock, scheduler):
    """Callers that renew inline don't use the event that wakes the scheduler's thread."""
    scheduler.schedule("a", clock.monotonic())
    assert not scheduler._changed.is_set()
    assert scheduler.take_due() == ["a"]


class Observed(SteppedClock):
    """A clock that records each wait as it begins: its length, and whether it is over already."""

    def __init__(self):
        super().__init__()
        self.naps = queue.SimpleQueue()

    def wait(self, event, timeout):
        self.naps.put((timeout, event.is_set()))
        return super().wait(event, timeout)

    def next_nap(self):
        return self.naps.get(timeout=10)


class TestWaits:
    """How long the thread waits, and what wakes it."""

    @pytest.fixture
    def clock(self):
        return Observed()

    @pytest.fixture
    def renewed(self):
        return queue.SimpleQueue()

    @pytest.fixture
    def scheduler(self, clock, renewed):
        scheduler = Scheduler(clock, renewed.put)
        yield scheduler
        scheduler.close(timeout=5)

    def test_again_after_each_wake(self, clock, scheduler, renewed):
        """The thread waits again after each wake-up, and no wait is over before it began."""
        start = clock.monotonic()
        scheduler.schedule("late", start + 4.5)
        scheduler.start()
        naps = [clock.next_nap()]
        for due in (4.0, 3.0, 2.0):
            scheduler.schedule(f"at {due}", start + due)
            naps.append(clock.next_nap())
        for seconds, left in ((2.0, 1.0), (1.0, 1.0), (1.0, 0.5)):
            clock.step(seconds)
            naps.append(clock.next_nap())
            assert naps[-1][0] == left
        clock.step(0.5)
        assert [renewed.get(timeout=10) for _ in range(4)] == ["at 2.0", "at 3.0", "at 4.0", "late"]
        naps.append(clock.next_nap())
        assert naps[-1][0] is None
        assert not any(over for _, over in naps)
        assert clock.naps.empty()

    @pytest.mark.parametrize("first", [3.0, LONGEST_NAP_SECONDS, 1000.0])
    @pytest.mark.parametrize("earlier", [0.5, 0.001])
    def test_ends_for_what_is_due_a_little_earlier(self, clock, scheduler, renewed, first, earlier):
        """A key that becomes due half a second or less before the end of a wait ends it."""
        start = clock.monotonic()
        scheduler.schedule("first", start + first)
        scheduler.start()
        nap, _ = clock.next_nap()
        scheduler.schedule("second", start + nap - earlier)
        assert clock.next_nap() == (pytest.approx(nap - earlier), False)
        clock.step(nap - earlier)
        assert renewed.get(timeout=10) == "second"

    def test_ends_for_the_same_key_earlier(self, clock, scheduler, renewed):
        """A key that is rescheduled half a second earlier is renewed half a second earlier."""
        start = clock.monotonic()
        scheduler.schedule("a", start + 3.0)
        scheduler.start()
        clock.next_nap()
        scheduler.schedule("a", start + 2.5)
        assert clock.next_nap() == (2.5, False)
        clock.step(2.5)
        assert renewed.get(timeout=10) == "a"

    def test_scheduled_before_the_wait(self, clock, scheduler, renewed):
        """A key that is scheduled between calculation and wait ends the wait immediately."""
        start = clock.monotonic()
        scheduler.schedule("late", start + 4.0)
        reckon, others = scheduler._nap_seconds, ["soon"]

        def reckon_and_be_overtaken():
            seconds = reckon()
            while others:
                scheduler.schedule(others.pop(), start + 1.0)
            return seconds

        scheduler._nap_seconds = reckon_and_be_overtaken
        scheduler.start()
        assert clock.next_nap() == (4.0, True)
        assert clock.next_nap() == (1.0, False)
        clock.step(1.0)
        assert renewed.get(timeout=10) == "soon"

    def test_scheduled_during_the_calculation(self, clock, scheduler, renewed):
        """A key that another thread schedules during the calculation is renewed in time."""
        start = clock.monotonic()
        scheduler.schedule("first", start + 2.0)
        scheduler.schedule("late", start + 6.0)
        scheduler.start()
        clock.next_nap()
        looks, others = iter(["first is due", "late is not", "a nap until late"]), []

        class Heap(list):
            def __getitem__(self, index):
                entry = super().__getitem__(index)
                mine = threading.current_thread() is scheduler._thread
                if mine and next(looks, "") == "a nap until late":
                    other = threading.Thread(target=scheduler.schedule, args=("soon", start + 3))
                    other.start()
                    other.join(0.2)  # it waits for the lock, unless the code has none
                    others.append(other)
                return entry

        scheduler._heap = Heap(scheduler._heap)
        clock.step(2.0)
        assert renewed.get(timeout=10) == "first"
        nap = clock.next_nap()
        if nap[0] != 1.0:
            assert nap == (4.0, nap[1])
            assert clock.next_nap()[0] == 1.0
        others[0].join(10)
        clock.step(1.0)
        assert renewed.get(timeout=10) == "soon"

    def test_five_seconds_at_most(self, clock, scheduler):
        """While something is scheduled the thread checks the clocks every five seconds."""
        looks = queue.SimpleQueue()
        scheduler._look = lambda: looks.put(clock.monotonic())
        start = clock.monotonic()
        scheduler.schedule("late", start + 3600)
        scheduler.start()
        for number in range(5):
            assert looks.get(timeout=10) == start + 5 * number
            assert clock.next_nap() == (5.0, False)
            clock.step(5.0)

    @pytest.mark.parametrize("key", [None, "forgotten", "renewed"])
    def test_without_end_while_nothing_is_scheduled(self, clock, scheduler, renewed, key):
        """A thread without anything scheduled waits, and wakes up for a new key."""
        if key is not None:
            scheduler.schedule(key, clock.monotonic() + (0 if key == "renewed" else 100))
        if key == "forgotten":
            scheduler.forget(key)
        scheduler.start()
        assert clock.next_nap() == (None, False)
        scheduler.schedule("new", clock.monotonic() + 3)
        assert clock.next_nap() == (3, False)

    def test_a_look_that_fails(self, clock, scheduler, renewed, caplog):
        """A bug in checking the clocks is logged, and renewals continue."""
        scheduler._look = lambda: 1 / 0
        scheduler.schedule("a", clock.monotonic())
        scheduler.start()
        assert renewed.get(timeout=10) == "a"
        scheduler.close(timeout=10)
        assert "ZeroDivisionError" in caplog.text
