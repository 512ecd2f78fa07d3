"""Timing of contenders side by side: in turn, in many rounds, so that noise hits all alike."""

import gc
import multiprocessing
import statistics
import timeit
from concurrent.futures import ProcessPoolExecutor
from time import process_time


class Rounds:
    """The seconds that each contender took in each round."""

    def __init__(self, contenders=(), rounds=0):
        names = list(contenders)
        self.took = {name: [] for name in names}
        gc.collect()
        gc.disable()
        try:
            for number in range(rounds):
                first = number % len(names)  # so that none always follows the same one
                for name in names[first:] + names[:first]:
                    self.took[name].append(contenders[name]())
        finally:
            gc.enable()

    @classmethod
    def together(cls, launches):
        """Return the rounds of several processes as those of one."""
        whole = cls()
        for launch in launches:
            for name, took in launch.took.items():
                whole.took.setdefault(name, []).extend(took)
        return whole

    def best(self, name):
        """Return the time of its best round."""
        return min(self.took[name])

    def median(self, name):
        """Return the time of its median round."""
        return statistics.median(self.took[name])

    def best_ratio(self, name, base):
        """Return best round to best round."""
        return self.best(name) / self.best(base)

    def median_ratio(self, name, base):
        """Return the median of the ratios within each round."""
        pairs = zip(self.took[name], self.took[base], strict=True)
        return statistics.median(one / other for one, other in pairs)


def in_fresh_processes(function, times, *arguments):
    """Return the results of *function* in *times* new processes.

    The place of code and data in memory changes a ratio of nanoseconds by a tenth, and is the same
    within a process.
    """
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=fresh, max_tasks_per_child=1) as pool:
        return [pool.submit(function, *arguments).result() for _ in range(times)]


EMPTY_ROUNDS = 20

_AWAITING = """
async def loop(number, clock):
    began = clock()
    for _ in range(number):
        {statement}
    return clock() - began
"""


def calls(statement, number, **names):
    """Return a contender: the CPU seconds for one *statement*, without the loop around it."""
    # Each has its own code, because CPython specializes code to the classes that it meets.
    timer = timeit.Timer(statement, timer=process_time, globals=names)
    empty = min(timeit.Timer("pass", timer=process_time).repeat(EMPTY_ROUNDS, number))
    return lambda: (timer.timeit(number) - empty) / number


def awaits(statement, number, **names):
    """Return a contender as :func:`calls` does, for a *statement* that awaits.

    No event loop runs: one coroutine awaits again and again, and is never suspended.
    """
    loop = _loop(statement, names)
    nothing = _loop("pass", {})
    empty = min(_drive(nothing, number) for _ in range(EMPTY_ROUNDS))
    return lambda: (_drive(loop, number) - empty) / number


def _loop(statement, names):
    exec(_AWAITING.format(statement=statement), names)
    return names["loop"]


def _drive(loop, number):
    coroutine = loop(number, process_time)
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("a warm read has suspended its task")
