"""The schedule: one heap, one event, one thread."""

import math
import queue
import random
import threading

import pytest

from tokenkeeper._runtime.scheduler import LONGEST_NAP_SECONDS, Refresher
from tokenkeeper.testing import SteppedClock


@pytest.fixture
def clock():
    return SteppedClock()


@pytest.fixture
def refresher(clock):
    refresher = Refresher(clock, lambda name: None)
    yield refresher
    refresher.close(timeout=5)


def test_takes_what_is_due_in_order(clock, refresher):
    """Keys come out when they are due, the earliest first, and once."""
    now = clock.monotonic()
    for name, after in (("c", 3), ("a", 1), ("b", 2), ("d", 4)):
        refresher.schedule(name, now + after)
    assert refresher.take_due() == []
    clock.step(3)
    assert refresher.take_due() == ["a", "b", "c"]
    assert refresher.take_due() == []


def test_due_to_the_tick(clock, refresher):
    """A key is due at its very moment, and not one tick before."""
    due_at = clock.monotonic() + 10
    refresher.schedule("a", due_at)
    clock.step(math.nextafter(due_at, 0) - clock.monotonic())
    assert refresher.take_due() == []
    clock.step(due_at - clock.monotonic())
    assert refresher.take_due() == ["a"]


def test_the_last_word_counts(clock, refresher):
    """A key scheduled again is due at the new time only, and a forgotten one never."""
    now = clock.monotonic()
    refresher.schedule("a", now + 1)
    refresher.schedule("a", now + 5)
    refresher.schedule("b", now + 1)
    refresher.forget("b")
    refresher.forget("unknown")
    clock.step(2)
    assert refresher.take_due() == []
    clock.step(3)
    assert refresher.take_due() == ["a"]


def test_the_heap_does_not_grow_with_what_was_rescheduled(clock, refresher):
    """Entries that no longer count are swept away."""
    now = clock.monotonic()
    draw = random.Random(7)
    for _ in range(10_000):
        refresher.schedule(str(draw.randrange(10)), now + draw.random())
    assert len(refresher._heap) <= 2 * 10 + 16
    clock.step(2)
    assert sorted(refresher.take_due()) == [str(n) for n in range(10)]


def test_thread_renews_what_becomes_due(clock):
    """Once started, the thread hands out keys as the clock reaches them."""
    renewed = threading.Semaphore(0)
    names = []

    def renew(name):
        names.append(name)
        renewed.release()

    refresher = Refresher(clock, renew)
    refresher.schedule("late", clock.monotonic() + 1000)
    refresher.start()
    refresher.start()
    assert refresher.is_running
    while not clock.waiting:  # it naps until the late one, or a minute
        threading.Event().wait(0.001)
    refresher.schedule("soon", clock.monotonic() + 10)
    clock.step(10)
    assert renewed.acquire(timeout=10)
    clock.step(990)
    assert renewed.acquire(timeout=10)
    assert names == ["soon", "late"]
    refresher.close(timeout=10)
    assert not refresher.is_running


def test_thread_survives_a_bug(clock, caplog):
    """A renewal that raises is logged, and the next one is made all the same."""
    renewed = threading.Event()

    def renew(name):
        if name == "bad":
            raise ZeroDivisionError
        renewed.set()

    refresher = Refresher(clock, renew)
    refresher.schedule("bad", clock.monotonic())
    refresher.schedule("good", clock.monotonic() + 1)
    refresher.start()
    clock.step(1)
    assert renewed.wait(10)
    refresher.close(timeout=10)
    assert "'bad'" in caplog.text


def test_close_ends_the_thread_and_the_start(clock, refresher):
    """A closed refresher has no thread, and gets none again."""
    refresher.start()
    thread = refresher._thread
    refresher.close(timeout=10)
    assert not thread.is_alive()
    refresher.start()
    assert not refresher.is_running
    refresher.close(timeout=10)


def test_without_a_thread_nobody_is_woken(clock, refresher):
    """Callers that renew inline do not touch the event that wakes the refresher's thread."""
    refresher.schedule("a", clock.monotonic())
    assert not refresher._changed.is_set()
    assert refresher.take_due() == ["a"]


class Observed(SteppedClock):
    """A clock that notes each nap as it begins: how long, and whether it is over already."""

    def __init__(self):
        super().__init__()
        self.naps = queue.SimpleQueue()

    def wait(self, event, timeout):
        self.naps.put((timeout, event.is_set()))
        return super().wait(event, timeout)

    def next_nap(self):
        return self.naps.get(timeout=10)


class TestNaps:
    """How long the thread sleeps, and what wakes it."""

    @pytest.fixture
    def clock(self):
        return Observed()

    @pytest.fixture
    def renewed(self):
        return queue.SimpleQueue()

    @pytest.fixture
    def refresher(self, clock, renewed):
        refresher = Refresher(clock, renewed.put)
        yield refresher
        refresher.close(timeout=5)

    def test_again_after_each_wake(self, clock, refresher, renewed):
        """The thread goes back to sleep after every wake: no nap is over before it began."""
        start = clock.monotonic()
        refresher.schedule("late", start + 4.5)
        refresher.start()
        naps = [clock.next_nap()]
        for due in (4.0, 3.0, 2.0):
            refresher.schedule(f"at {due}", start + due)
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
    def test_ends_for_what_is_due_a_little_earlier(self, clock, refresher, renewed, first, earlier):
        """A key that is due half a second before the end of a nap, or less, ends it."""
        start = clock.monotonic()
        refresher.schedule("first", start + first)
        refresher.start()
        nap, _ = clock.next_nap()
        refresher.schedule("second", start + nap - earlier)
        assert clock.next_nap() == (pytest.approx(nap - earlier), False)
        clock.step(nap - earlier)
        assert renewed.get(timeout=10) == "second"

    def test_ends_for_the_same_key_earlier(self, clock, refresher, renewed):
        """A key that is rescheduled half a second earlier is renewed half a second earlier."""
        start = clock.monotonic()
        refresher.schedule("a", start + 3.0)
        refresher.start()
        clock.next_nap()
        refresher.schedule("a", start + 2.5)
        assert clock.next_nap() == (2.5, False)
        clock.step(2.5)
        assert renewed.get(timeout=10) == "a"

    def test_is_not_begun_if_something_came_meanwhile(self, clock, refresher, renewed):
        """What is scheduled between the look at the schedule and the nap ends the nap at once."""
        start = clock.monotonic()
        refresher.schedule("late", start + 4.0)
        reckon, others = refresher._nap_seconds, ["soon"]

        def reckon_and_be_overtaken():
            seconds = reckon()
            while others:
                refresher.schedule(others.pop(), start + 1.0)
            return seconds

        refresher._nap_seconds = reckon_and_be_overtaken
        refresher.start()
        assert clock.next_nap() == (4.0, True)
        assert clock.next_nap() == (1.0, False)
        clock.step(1.0)
        assert renewed.get(timeout=10) == "soon"

    def test_what_comes_while_it_is_reckoned(self, clock, refresher, renewed):
        """What another thread schedules while the nap is reckoned is renewed in time."""
        start = clock.monotonic()
        refresher.schedule("first", start + 2.0)
        refresher.schedule("late", start + 6.0)
        refresher.start()
        clock.next_nap()
        looks, others = iter(["first is due", "late is not", "a nap until late"]), []

        class Heap(list):
            def __getitem__(self, index):
                entry = super().__getitem__(index)
                mine = threading.current_thread() is refresher._thread
                if mine and next(looks, "") == "a nap until late":
                    other = threading.Thread(target=refresher.schedule, args=("soon", start + 3))
                    other.start()
                    other.join(0.2)  # it waits for the lock, unless there is none
                    others.append(other)
                return entry

        refresher._heap = Heap(refresher._heap)
        clock.step(2.0)
        assert renewed.get(timeout=10) == "first"
        nap = clock.next_nap()
        if nap[0] != 1.0:
            assert nap == (4.0, nap[1])
            assert clock.next_nap()[0] == 1.0
        others[0].join(10)
        clock.step(1.0)
        assert renewed.get(timeout=10) == "soon"

    def test_five_seconds_at_most(self, clock, refresher):
        """With something due later the thread looks at the clocks every five seconds."""
        looks = queue.SimpleQueue()
        refresher._look = lambda: looks.put(clock.monotonic())
        start = clock.monotonic()
        refresher.schedule("late", start + 3600)
        refresher.start()
        for number in range(5):
            assert looks.get(timeout=10) == start + 5 * number
            assert clock.next_nap() == (5.0, False)
            clock.step(5.0)

    @pytest.mark.parametrize("key", [None, "forgotten", "renewed"])
    def test_without_end_while_nothing_is_scheduled(self, clock, refresher, renewed, key):
        """A thread with nothing to wait for costs nothing, and wakes for what comes."""
        if key is not None:
            refresher.schedule(key, clock.monotonic() + (0 if key == "renewed" else 100))
        if key == "forgotten":
            refresher.forget(key)
        refresher.start()
        assert clock.next_nap() == (None, False)
        refresher.schedule("new", clock.monotonic() + 3)
        assert clock.next_nap() == (3, False)

    def test_a_look_that_fails(self, clock, refresher, renewed, caplog):
        """A bug in looking at the clocks is logged, and renewals go on."""
        refresher._look = lambda: 1 / 0
        refresher.schedule("a", clock.monotonic())
        refresher.start()
        assert renewed.get(timeout=10) == "a"
        refresher.close(timeout=10)
        assert "ZeroDivisionError" in caplog.text
