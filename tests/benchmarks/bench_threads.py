"""The throughput of many threads that read, compared with one."""

import statistics
import threading
import time

from least import Least
from played import PlayedServer
from report import Section, Table

from tokenkeeper import TokenKeeper

COUNTS = (1, 8, 32)


class LockedLeast(Least):
    """The least read behind a lock, for comparison."""

    def __init__(self):
        super().__init__()
        self._lock = threading.Lock()

    def get_token(self, name):
        with self._lock:
            return super().get_token(name)


def run(quick):
    seconds, rounds = (0.15, 3) if quick else (0.4, 5)
    with TokenKeeper() as keeper:
        keeper.add_provider(PlayedServer())
        keeper.get_token("api")
        subjects = {
            "the least": Least(),
            "the least behind a `threading.Lock`": LockedLeast(),
            "`TokenKeeper.get_token`": keeper,
        }
        reads = {(name, count): [] for name in subjects for count in COUNTS}
        for _ in range(rounds):
            for name, count in reads:
                reads[name, count].append(_reads_a_second(subjects[name], count, seconds))

    table = Table(("reads a second", *(f"{count} threads / 1" for count in COUNTS[1:])))
    for name in subjects:
        alone = statistics.median(reads[name, 1])
        ratios = [statistics.median(reads[name, count]) / alone for count in COUNTS[1:]]
        table.add(name, *(f"{ratio:.2f}" for ratio in ratios))
    says = (
        f"All threads read for a fixed {seconds:g} s; medians of {rounds} rounds in turn. With a "
        "fixed number of reads each thread would finish within one slice of the GIL, and the "
        "lock would look free. About 1.0 is the best that CPython with a GIL can do. A higher "
        "figure means a busy machine, which gives many threads a larger share."
    )
    return Section("Threads that read at once", says, [table])


def _reads_a_second(subject, count, seconds):
    start = threading.Barrier(count + 1)
    ends = 0.0
    totals = [0] * count

    def read(index):
        start.wait()
        start.wait()  # `ends` has been set between the two
        total = 0
        while time.perf_counter() < ends:
            for _ in range(200):
                subject.get_token("api")
            total += 200
        totals[index] = total

    threads = [threading.Thread(target=read, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    ends = began + seconds
    start.wait()
    for thread in threads:
        thread.join()
    return sum(totals) / (time.perf_counter() - began)
