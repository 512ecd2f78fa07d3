"""Threads that start together, and waits for states that they reach."""

import threading
import time
from contextlib import contextmanager

from tokenkeeper import OAuth2Error

GUARD_SECONDS = 30.0
"""How long a wait for other threads may take before the test fails."""


def in_thread(function, *arguments):
    """Call *function* on a thread; return the thread, and the list that gets its outcome."""
    outcomes = []

    def run():
        try:
            outcomes.append(function(*arguments))
        except OAuth2Error as error:
            outcomes.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, outcomes


class Crowd:
    """Threads that start together; their results and exceptions are kept in order."""

    def __init__(self, *jobs):
        self.results = [None] * len(jobs)
        self._start = threading.Barrier(len(jobs))
        self.threads = [
            threading.Thread(target=self._run, args=(index, job), daemon=True)
            for index, job in enumerate(jobs)
        ]
        for thread in self.threads:
            thread.start()

    def _run(self, index, job):
        self._start.wait(GUARD_SECONDS)
        try:
            self.results[index] = job()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            self.results[index] = error

    def join(self):
        """Return the results; a thread that hangs is a failure."""
        ends = time.monotonic() + GUARD_SECONDS
        for thread in self.threads:
            thread.join(max(0.0, ends - time.monotonic()))
        alive = sum(thread.is_alive() for thread in self.threads)
        assert not alive, f"{alive} of {len(self.threads)} threads hang"
        return self.results


def crowd(count, job):
    """Run *job* in *count* threads at once."""
    return Crowd(*[job] * count)


def until(condition, what="the condition"):
    """Wait until *condition* holds, for states that no event announces."""
    ends = time.monotonic() + GUARD_SECONDS
    while not condition():
        assert time.monotonic() < ends, f"{what} never came true"
        time.sleep(0.001)


@contextmanager
def held_by_another_thread(lock):
    """Hold *lock* on another thread inside the ``with`` block."""
    taken, done = threading.Event(), threading.Event()

    def hold():
        with lock:
            taken.set()
            done.wait(GUARD_SECONDS)

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert taken.wait(GUARD_SECONDS)
    try:
        yield
    finally:
        done.set()
        thread.join(GUARD_SECONDS)


def library_threads():
    """Return the threads of the library that run, without the event loop, which stays."""
    return [
        thread
        for thread in threading.enumerate()
        if thread.name in ("tokenkeeper-refresher", "tokenkeeper-worker")
    ]
