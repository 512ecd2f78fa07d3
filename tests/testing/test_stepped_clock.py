"""The stepped clock, and the names that the testing package offers."""

import threading

import pytest

import tokenkeeper.testing
from tokenkeeper.testing import SteppedClock


def test_time_stands_still_until_it_is_stepped():
    """A step changes both clocks by the same time, and nothing else changes them."""
    clock = SteppedClock(wall=100.0, monotonic=5.0)
    assert (clock.time(), clock.monotonic()) == (100.0, 5.0)
    clock.step(2.5)
    assert (clock.time(), clock.monotonic()) == (102.5, 7.5)


def test_the_wall_clock_steps_alone():
    """Setting the wall clock, even back, does not change the other one."""
    clock = SteppedClock(wall=100.0, monotonic=5.0)
    clock.step_wall(-50.0)
    assert (clock.time(), clock.monotonic()) == (50.0, 5.0)


def test_time_does_not_go_back():
    """A step back on both clocks is refused."""
    with pytest.raises(ValueError, match="step_wall"):
        SteppedClock().step(-1.0)


def test_a_wait_ends_when_its_time_has_come():
    """A waiting thread is counted, continues to wait after an early step, and ends on time."""
    clock = SteppedClock()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(clock.wait(threading.Event(), 10.0)))
    thread.start()
    _until(lambda: clock.waiting == 1)
    clock.step(9.0)
    assert clock.waiting == 1
    clock.step(1.0)
    thread.join(10)
    assert ended == [False]
    assert clock.waiting == 0


def test_a_wait_ends_with_its_event():
    """An event ends a wait without a timeout, and a set one ends it immediately."""
    clock, event = SteppedClock(), threading.Event()
    ended = []
    thread = threading.Thread(target=lambda: ended.append(clock.wait(event, None)))
    thread.start()
    _until(lambda: clock.waiting == 1)
    event.set()
    thread.join(10)
    assert ended == [True]
    assert clock.wait(event, 10.0)


def test_waits_can_step_the_clock_themselves():
    """With auto_step a wait steps the clock and returns immediately."""
    clock, event = SteppedClock(monotonic=0.0, auto_step=True), threading.Event()
    assert not clock.wait(event, 30.0)
    assert clock.monotonic() == 30.0
    event.set()
    assert clock.wait(event, 30.0)
    assert clock.monotonic() == 30.0


def test_public_names_can_be_had():
    """Each public name of the testing package loads; an unknown one is an error with its name."""
    for name in tokenkeeper.testing.__all__:
        assert getattr(tokenkeeper.testing, name).__name__ == name
    assert set(dir(tokenkeeper.testing)) >= set(tokenkeeper.testing.__all__)
    with pytest.raises(AttributeError, match="Nope"):
        _ = tokenkeeper.testing.Nope


def _until(condition):
    """Poll, because no event reports when a thread has begun to wait."""
    pause = threading.Event()
    for _ in range(5000):
        if condition():
            return
        pause.wait(0.002)
    pytest.fail("it never happened")


@pytest.mark.parametrize("auto_step", ["retry", "", None, 2], ids=repr)
def test_other_values_of_auto_step(auto_step):
    """A misspelt value is an error: a clock that steps by each wait would run away."""
    with pytest.raises(ValueError, match="must be True, False or 'retries'"):
        SteppedClock(auto_step=auto_step)
