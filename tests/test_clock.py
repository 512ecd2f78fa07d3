"""The clocks that Tokenkeeper uses."""

import sys
import threading
import time

import pytest

from tokenkeeper import clock as clock_module
from tokenkeeper.clock import SYSTEM_CLOCK, instant


def test_wall_clock():
    """The wall clock is the machine's."""
    assert SYSTEM_CLOCK.time() == pytest.approx(time.time(), abs=5)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has this clock")
def test_monotonic_counts_sleep():
    """On Linux, deadlines use the clock that counts sleep."""
    here = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert here <= SYSTEM_CLOCK.monotonic() <= here + 5


@pytest.mark.parametrize("platform", ["win32", "freebsd14"])
def test_elsewhere_the_plain_monotonic_clock_serves(platform, monkeypatch):
    """On platforms without such a clock, time.monotonic() is used."""
    monkeypatch.setattr(sys, "platform", platform)
    assert clock_module._sleep_counting_clock() is time.monotonic


def test_wait_says_whether_the_event_is_set():
    """A wait returns whether the event is set or the timeout passed."""
    event = threading.Event()
    assert SYSTEM_CLOCK.wait(event, 0) is False
    event.set()
    assert SYSTEM_CLOCK.wait(event, None) is True


def test_instant_reads_both_clocks():
    """An instant contains both clocks, read together."""
    now = instant(SYSTEM_CLOCK)
    assert now.wall == pytest.approx(time.time(), abs=5)
    assert now.monotonic <= SYSTEM_CLOCK.monotonic()


@pytest.mark.parametrize("timeout", [1e12, 1e300, float("inf")])
def test_a_wait_longer_than_the_system_knows(timeout):
    """A wait of 30,000 years is not an error."""
    event = threading.Event()
    waited = []
    thread = threading.Thread(target=lambda: waited.append(SYSTEM_CLOCK.wait(event, timeout)))
    thread.start()
    event.set()
    thread.join(10)
    assert waited == [True]
