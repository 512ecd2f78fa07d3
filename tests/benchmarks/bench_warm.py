"""The cost of a read of a cached token, against the least that any such read can cost."""

from kit import internals
from least import (
    AsyncLeast,
    AsyncLeastByName,
    AsyncLeastOnOurClock,
    Least,
    LeastByName,
    LeastOnOurClock,
)
from measure import Rounds, awaits, calls, in_fresh_processes
from played import PlayedServer
from report import Section, Table

from tokenkeeper import OAuth2TokenManager, TokenKeeper

CALL = "subject.get_token('api')"


def run(quick):
    launches, rounds = (3, 8) if quick else (9, 15)
    halves = in_fresh_processes(_launch, launches, 10_000, rounds)
    table = Table(("a read", "time, best", "x the least, best", "median", "range over starts"))
    for half in zip(*halves, strict=True):
        whole = Rounds.together(half)
        base = next(iter(whole.took))
        for name in whole.took:
            medians = [launch.median_ratio(name, base) for launch in half]
            table.add(
                name,
                f"{whole.best(name) * 1e9:.0f} ns",
                f"{whole.best_ratio(name, base):.2f}",
                f"{whole.median_ratio(name, base):.2f}",
                f"{min(medians):.2f} to {max(medians):.2f}",
            )
    says = (
        "The least is a plain class: a method call, a dictionary lookup, `time.monotonic()`, a "
        "comparison. `time.monotonic()` stops while a Linux machine sleeps, and a lifetime does "
        "not, so Tokenkeeper reads `CLOCK_BOOTTIME`; the second and third row differ only in that "
        "clock. The rest is the cost of a call with three parameters, one of which is examined. "
        "A read inside the buffer leaves the fast path, checks whether the scheduler runs, and "
        "takes no lock either. The empty loop is subtracted everywhere; awaits run in one "
        "coroutine without an event loop, on both sides. The layout of memory changes these "
        f"ratios from one start of Python to the next, so there were {launches} starts of {rounds} "
        "rounds each. A source needs no lookup, so it costs no more than the least on our clock; "
        "`source()` is dearer because CPython calls an instance in a slower way. Aims: 1.2 "
        "blocking, 1.25 awaited; with a source 1.05, and 1.3 for `source()`. Decision 13 says why "
        "the last two are missed."
    )
    return Section("A warm read", says, [table])


def _launch(number, rounds):
    """Return the rounds of the blocking reads and of the awaited ones, in this process."""
    fresh, renewing = TokenKeeper(), TokenKeeper()
    for keeper in (fresh, renewing):
        keeper.add_provider(PlayedServer())
        keeper.get_token("api")
    internals.make_renewing(renewing)
    subjects = {
        "the least": Least(),
        "the least, clock by name": LeastByName(),
        "the least, our clock by name": LeastOnOurClock(),
        "`get_token`, fresh": fresh,
        "`get_token`, renewing": renewing,
    }
    reads = {n: calls(CALL, number, subject=s) for n, s in subjects.items()}
    source = fresh.source("api")
    reads["`source.get_token()`"] = calls("subject.get_token()", number, subject=source)
    reads["`source()`"] = calls("subject()", number, subject=source)
    blocking = Rounds(reads, rounds)
    subjects = {
        "the least, awaited": AsyncLeast(),
        "the least, awaited, clock by name": AsyncLeastByName(),
        "the least, awaited, our clock by name": AsyncLeastOnOurClock(),
        "`await get_token`, fresh": OAuth2TokenManager(fresh),
        "`await get_token`, renewing": OAuth2TokenManager(renewing),
    }
    reads = {n: awaits(f"await {CALL}", number, subject=s) for n, s in subjects.items()}
    get_token = source.aio.get_token
    reads["`await source.aio.get_token()`"] = awaits("await subject()", number, subject=get_token)
    awaited = Rounds(reads, rounds)
    fresh.close()
    renewing.close()
    return blocking, awaited
