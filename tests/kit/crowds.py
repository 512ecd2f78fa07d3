"""Threads and tasks that start together."""

import threading
import time
from contextlib import contextmanager

import anyio

from kit.guards import GUARD_SECONDS
from tokenkeeper import OAuth2Error


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

    def join(self, limit=GUARD_SECONDS):
        """Return the results; a thread that hangs for *limit* seconds is a failure."""
        ends = time.monotonic() + limit
        for thread in self.threads:
            thread.join(max(0.0, ends - time.monotonic()))
        alive = sum(thread.is_alive() for thread in self.threads)
        assert not alive, f"{alive} of {len(self.threads)} threads hang"
        return self.results


def crowd(count, job):
    """Run *job* in *count* threads at once."""
    return Crowd(*[job] * count)


def at_once(*jobs, limit=GUARD_SECONDS):
    """Run *jobs* in a thread each, at the same time; return their results or errors."""
    return Crowd(*jobs).join(limit)


async def crowd_of_tasks(count, job):
    """Run *job* in *count* tasks at once; return their results or errors."""
    results = []

    async def run():
        try:
            results.append(await job())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            results.append(error)

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(run)
    return results


def tasks_at_once(backend, count, job):
    """Run such a crowd in an event loop of its own."""
    return anyio.run(crowd_of_tasks, count, job, backend=backend)


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
