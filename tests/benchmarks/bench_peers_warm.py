"""A read of a cached token by 1, 8 and 32 threads: peers beside the least possible."""

import threading
import time

from least import AsyncLeast, Least
from measure import Rounds, awaits, calls
from peers import BLOCKING, IN_BACKGROUND, absent, installed
from report import Bars, Section, Table, ahead

COUNTS = (1, 8, 32)
LEAST, AWAITED = "the least", "the least, awaited"
MANAGER = "Tokenkeeper, async front"
HOP = "an anyio hop to a thread"
BATCH = 50
MILLISECOND = 1e-3

REASON = "it does less for a read: it doesn't use a clock that counts the machine's sleep"


def run(quick):
    rounds, seconds, number = (3, 0.05, 1_000) if quick else (7, 0.2, 5_000)
    subjects = _subjects()
    try:
        contenders = {
            name: (awaits if reader.awaited else calls)(reader.statement, number, **reader.names)
            for name, reader in subjects.items()
            if name != HOP
        }
        contenders[HOP] = lambda: 1 / _reads_a_second(subjects[HOP], 1, seconds)
        alone = Rounds(contenders, rounds)
        crowds = {
            count: Rounds(
                {
                    name: lambda r=reader, c=count: 1 / _reads_a_second(r, c, seconds)
                    for name, reader in subjects.items()
                },
                rounds,
            )
            for count in COUNTS
        }
    finally:
        for reader in subjects.values():
            reader.close()
    return _section(subjects, alone, crowds, rounds, seconds)


def _section(subjects, alone, crowds, rounds, seconds):
    table = Table(
        (
            "a read",
            "1 thread, best",
            "x the least, best",
            "median",
            "8 threads, x the least, best",
            "median",
            "32 threads, x the least, best",
            "median",
            "throughput, 32 threads / 1",
        )
    )

    def base(name):
        return AWAITED if subjects[name].awaited else LEAST

    ratios = {name: alone.median_ratio(name, base(name)) for name in subjects}
    ratios_of_32 = {name: crowds[32].median_ratio(name, base(name)) for name in subjects}
    for name in sorted(subjects, key=ratios.get):
        cells = [name, _time(alone.best(name)), _times(alone.best_ratio(name, base(name)))]
        cells.append(_times(ratios[name]))
        for count in COUNTS[1:]:
            cells.append(_times(crowds[count].best_ratio(name, base(name))))
            cells.append(_times(crowds[count].median_ratio(name, base(name))))
        gain = crowds[1].median(name) / crowds[32].median(name)
        table.add(*cells, f"{gain:.2f}")
    ours = BLOCKING[0].name
    peers = [name for name in subjects if not subjects[name].awaited and name != LEAST]
    says = (
        "The least is a plain class: a method call, a dictionary lookup, `time.monotonic()`, a "
        "comparison. Awaited reads are compared with the same in an `async def`. One thread: CPU "
        "time without the empty loop. The hop needs an event loop and another thread, so wall "
        f"time is used for it. 8 and 32 threads read for a fixed {seconds:g} s, and the figure is "
        "the wall time divided by all reads: with a fixed number of reads each thread would "
        "finish within one slice of the GIL, and a lock would look free. A thread that awaits "
        "runs one coroutine without an event loop; only the hop has one. "
        f"{rounds} rounds in turn; a median is the median of the ratios within each round. The "
        "last column compares the throughput of many threads with that of one."
        + ahead("one thread", {n: ratios[n] for n in peers}, ours, REASON)
        + ahead("32 threads", {n: ratios_of_32[n] for n in peers}, ours, REASON)
        + absent()
    )
    section = Section("Peers: a warm read", says, [table])
    for title, figures in (("1 thread", ratios), ("32 threads", ratios_of_32)):
        section.bars.append(
            Bars(
                "warm",
                f"A warm read, {title}",
                "times the least possible read",
                figures,
                ours=(ours, MANAGER),
            )
        )
    return section


class _Reader:
    """A statement, the names that it needs, and whether a coroutine has to run it."""

    def __init__(self, statement, names, close=None, *, awaited=False, event_loop=False):
        self.statement, self.names = statement, names
        self.close = close or (lambda: None)
        self.awaited, self.event_loop = awaited, event_loop
        kind = "async def" if awaited else "def"
        self._source = _LOOP.format(kind=kind, statement=statement, batch=BATCH)

    def code(self):
        """Return a function that reads for a time. CPython specializes each one separately."""
        names = {"clock": time.perf_counter, **self.names}
        exec(self._source, names)
        return names["loop"]

    def read_until(self, loop, ends):
        """Run *loop* until *ends*; return the number of reads."""
        if self.event_loop:
            import anyio

            return anyio.run(loop, ends)
        if not self.awaited:
            return loop(ends)
        try:
            loop(ends).send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("a warm read has suspended its task")


_LOOP = """
{kind} loop(ends):
    total = 0
    while True:
        for _ in range({batch}):
            {statement}
        total += {batch}
        if clock() >= ends:
            return total
"""


def _subjects():
    """Return a reader for each contender. All have a token."""
    from tokenkeeper import OAuth2TokenManager

    readers = {LEAST: _Reader("subject.get_token('api')", {"subject": Least()})}
    for peer in installed(BLOCKING + IN_BACKGROUND):
        subject = peer.held(1)
        assert len(peer.token(subject)) > 1_000
        names = {"subject": subject, **peer.names()}
        readers[peer.name] = _Reader(peer.read, names, lambda p=peer, s=subject: p.close(s))
    keeper = readers[BLOCKING[0].name].names["subject"]
    readers[AWAITED] = _Reader(
        "await subject.get_token('api')", {"subject": AsyncLeast()}, awaited=True
    )
    readers[MANAGER] = _Reader(
        "await subject.get_token('api')", {"subject": OAuth2TokenManager(keeper)}, awaited=True
    )
    import anyio.to_thread

    anyio.run(anyio.to_thread.run_sync, _nothing)  # the import of its event loop is done now
    readers[HOP] = _Reader(
        "await hop(nothing)",
        {"hop": anyio.to_thread.run_sync, "nothing": _nothing},
        awaited=True,
        event_loop=True,
    )
    return readers


def _nothing():
    pass


def _reads_a_second(reader, count, seconds):
    """Let *count* threads read for *seconds*; return the reads of all threads per second."""
    start = threading.Barrier(count + 1)
    ends = 0.0
    totals = [0] * count

    def read(index):
        loop = reader.code()
        start.wait()
        start.wait()  # `ends` has been set between the two
        totals[index] = reader.read_until(loop, ends)

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


def _time(seconds):
    return f"{seconds * 1e9:.0f} ns" if seconds < MILLISECOND else f"{seconds * 1e3:.2f} ms"


def _times(ratio):
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
