"""Threads that all call at the same moment, and how long their calls take."""

import threading
import time


def call_at_once(count, call):
    """Return how many seconds each of *count* threads waited for its answer, and their errors.

    All are timed from their common start, because a thread that can't even call waits too.
    """
    opened = []
    start = threading.Barrier(count, lambda: opened.append(time.perf_counter()))
    took, failed = [], []

    def run():
        start.wait()
        try:
            call()
        except Exception as error:  # noqa: BLE001 - any one would be an error
            failed.append(error)
        took.append(time.perf_counter() - opened[0])

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(took), failed


def percentile(ordered, percent):
    """Return the least of the *ordered* values that *percent* of them do not exceed."""
    return ordered[-(-len(ordered) * percent // 100) - 1]
