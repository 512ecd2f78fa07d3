"""The schedule: one heap, one event, one thread."""

import math
import random
import threading

import pytest

from tokenkeeper.refresher import Refresher
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
