"""A stopwatch that stands while the machine stalls this process."""

import threading
import time
from contextlib import contextmanager

BEAT_SECONDS = 0.01

LONGEST_BEAT_SECONDS = 0.05
"""A beat that takes longer met a stall: the rest of it is not counted."""


@contextmanager
def awake_seconds():
    """Yield a function that returns for how many seconds this process could run so far.

    A wait that is measured with it is as long as the code under test makes it. A busy machine, or
    one that pauses its processes, makes it no longer.
    """
    counted = 0.0
    over = threading.Event()

    def beat():
        nonlocal counted
        before = time.monotonic()
        while not over.wait(BEAT_SECONDS):
            now = time.monotonic()
            counted += min(now - before, LONGEST_BEAT_SECONDS)
            before = now

    thread = threading.Thread(target=beat, name="awake", daemon=True)
    thread.start()
    try:
        yield lambda: counted
    finally:
        over.set()
        thread.join()
